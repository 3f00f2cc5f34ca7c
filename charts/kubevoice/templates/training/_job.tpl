{{- define "kubevoice.training.job" -}}
{{- $training := .Values.training -}}
{{- $resources := deepCopy $training.resources -}}
{{- if $training.gpus -}}
{{- $_ := set $resources "limits" (set ($resources.limits | default dict) $training.gpuResource ($training.gpus | toString)) -}}
{{- end -}}
apiVersion: batch/v1
kind: Job
metadata:
  namespace: {{ .Release.Namespace }}
  labels: {{- include "kubevoice.selectorLabels" (dict "root" $ "component" "training") | nindent 4 }}
    {{- with $training.queueName }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec:
  {{- if $training.queueName }}
  suspend: true  # Kueue starts it
  {{- end }}
  backoffLimit: {{ int64 $training.backoffLimit }}
  ttlSecondsAfterFinished: {{ int64 $training.ttlSecondsAfterFinished }}
  podFailurePolicy:
    rules:
      # Preempted or drained: not a failure; the next pod goes on from the last checkpoint. 143 says that it was saved on SIGTERM.
      - action: Ignore
        onPodConditions: [{type: DisruptionTarget, status: "True"}]
      - action: Ignore
        onExitCodes: {containerName: training, operator: In, values: [143]}
      # 42 and 43 are the trainer's words for a bad configuration and too little GPU memory: another try ends the same way.
      - action: FailJob
        onExitCodes: {containerName: training, operator: In, values: [42, 43]}
  template:
    metadata: {{- include "kubevoice.job.metadata" (dict "root" $ "component" "training") | nindent 6 }}
    spec:
      {{- include "kubevoice.job.pod" (dict "root" . "own" $training) | nindent 6 }}
      {{- if .Values.storage.singleNode }}
      affinity: {{- include "kubevoice.job.sameNode" . | nindent 8 }}
      {{- end }}
      terminationGracePeriodSeconds: {{ int64 $training.terminationGracePeriodSeconds }}
      {{- with .Values.priorityClasses.training }}
      priorityClassName: {{ . }}
      {{- end }}
      containers:
        - name: training
          {{- include "kubevoice.job.container" . | nindent 10 }}
          env: {{- include "kubevoice.job.env" (dict "root" $) | nindent 12 }}
          resources: {{- toYaml $resources | nindent 12 }}
          volumeMounts:
            {{- include "kubevoice.job.mounts" . | nindent 12 }}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        {{- include "kubevoice.job.volumes" . | nindent 8 }}
        - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .Values.pods.sharedMemory }}}}
{{- end -}}
