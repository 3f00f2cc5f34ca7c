{{- define "kubevoice.download.spec" -}}
{{- $download := .Values.models.xtts.download -}}
backoffLimit: {{ int64 $download.backoffLimit }}
podFailurePolicy:
  rules:
    # A drained node costs no attempt: the next pod resumes the download.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
template:
  metadata: {{- include "kubevoice.job.metadata" (dict "root" $ "component" "model-download") | nindent 4 }}
  spec:
    {{- include "kubevoice.job.pod" (dict "root" $ "own" dict) | nindent 4 }}
    {{- if .Values.storage.singleNode }}
    affinity: {{- include "kubevoice.job.sameNode" . | nindent 6 }}
    {{- end }}
    containers:
      - name: download
        {{- include "kubevoice.job.container" . | nindent 8 }}
        args: {{- include "kubevoice.download.arguments" . | nindent 10 }}
        env: {{- include "kubevoice.job.env" (dict "root" $ "own" (include "kubevoice.download.env" .)) | nindent 10 }}
        resources: {{- toYaml $download.resources | nindent 10 }}
        volumeMounts: {{- include "kubevoice.job.mounts" . | nindent 10 }}
    volumes: {{- include "kubevoice.job.volumes" . | nindent 6 }}
{{- end -}}

{{- define "kubevoice.download.arguments" -}}
{{- $download := .Values.models.xtts.download -}}
{{- $arguments := list "kubevoice" "models" "pull" "--accept-licence" "--keep-current" "--name" .Values.settings.xtts.model -}}
{{- $arguments = concat $arguments (list "--repository" $download.repository "--revision" $download.revision) -}}
{{- range $file, $digest := $download.sha256 -}}
{{- $arguments = concat $arguments (list "--sha256" (printf "%s=%s" $file $digest)) -}}
{{- end -}}
{{ toYaml $arguments }}
{{- end -}}

{{- define "kubevoice.download.env" -}}
{{- $download := .Values.models.xtts.download -}}
- {name: HF_HOME, value: /tmp/huggingface}
{{- with $download.endpoint }}
- {name: HF_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with $download.tokenSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- end -}}
