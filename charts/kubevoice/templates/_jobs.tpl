{{/* What the pods that run kubevoice beside Ray have in common: the download, training, the test, TensorBoard. */}}

{{/* metadata of the pod: (dict "root" $ "component" "training"). */}}
{{- define "kubevoice.job.metadata" -}}
labels: {{- include "kubevoice.selectorLabels" . | nindent 2 }}
{{- with .root.Values.pods.labels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pods.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Fields of the pod: (dict "root" $ "own" values), the values those with a node selector and tolerations of its own. */}}
{{- define "kubevoice.job.pod" -}}
restartPolicy: Never
{{ include "kubevoice.plainPod" . }}
{{- end -}}

{{- define "kubevoice.plainPod" -}}
serviceAccountName: {{ include "kubevoice.serviceAccount" (dict "root" .root "component" "job") }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "kubevoice.pullSecrets" .root }}
{{ . }}
{{- end }}
securityContext: {{- include "kubevoice.podSecurity" .root | nindent 2 }}
{{- include "kubevoice.nodes" . }}
{{- end -}}

{{/*
storage.singleNode: where the first pod with the volume went, the others go. templates/_pod.tpl uses it too, so a component more would make
a new Ray cluster; datasets and TensorBoard follow without being in the list.
*/}}
{{- define "kubevoice.job.sameNode" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels: {{- include "kubevoice.selectorLabels" (dict "root" .) | nindent 10 }}
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: [head, worker, model-download, training]}
{{- end -}}

{{/* The image's entry point, tini, starts the arguments: it passes signals on and reaps what they leave. */}}
{{- define "kubevoice.job.container" -}}
image: {{ include "kubevoice.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "kubevoice.containerSecurity" . | nindent 2 }}
{{- with .Values.pods.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
Environment, each name once as the API server wants it: (dict "root" $ "own" text "more" list). The values have the last word, those of
the Job, which are the list, after those of all pods.
*/}}
{{- define "kubevoice.job.env" -}}
{{- $values := concat .root.Values.pods.env (.more | default list) -}}
{{- $all := concat (fromYamlArray (include "kubevoice.job.ownEnv" .root)) (fromYamlArray (.own | default "[]")) $values -}}
{{- $names := list -}}
{{- range $all }}{{ $names = append $names .name }}{{ end -}}
{{- $env := list -}}
{{- range $index, $variable := $all -}}
{{- if not (has $variable.name (slice $names (add1 $index | int))) }}{{ $env = append $env $variable }}{{ end -}}
{{- end -}}
{{ toYaml $env }}
{{- end -}}

{{- define "kubevoice.job.ownEnv" -}}
- {name: HOME, value: /tmp}
- {name: KUBEVOICE_DATA, value: /data}
- {name: KUBEVOICE_LOG__LEVEL, value: {{ .Values.settings.log.level }}}
- {name: KUBEVOICE_LOG__FORMAT, value: {{ .Values.settings.log.format }}}
{{- end -}}

{{- define "kubevoice.job.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- with .Values.pods.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kubevoice.job.volumes" -}}
- {name: data, persistentVolumeClaim: {claimName: {{ include "kubevoice.claim" . }}}}
- {name: tmp, emptyDir: {sizeLimit: {{ .Values.pods.temporaryStorage }}}}
{{- with .Values.pods.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
