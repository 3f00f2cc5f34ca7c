{{/* A Job of training or of a dataset: (dict "root" $ "own" values "component" "training"), the values those in which the two differ. */}}
{{- define "kubevoice.training.job" -}}
{{- $training := .root.Values.training -}}
{{- $nodes := int .own.nodes -}}
{{- $resources := deepCopy .own.resources -}}
{{- if .own.gpus -}}
{{- $_ := set $resources "limits" (set ($resources.limits | default dict) $training.gpuResource (.own.gpus | toString)) -}}
{{- end -}}
apiVersion: batch/v1
kind: Job
metadata:
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "kubevoice.selectorLabels" . | nindent 4 }}
    {{- with $training.queueName }}
    kueue.x-k8s.io/queue-name: {{ . }}
    {{- end }}
spec:
  {{- if $training.queueName }}
  suspend: true  # Kueue starts it
  {{- end }}
  {{- if gt $nodes 1 }}
  # One pod for each node, numbered, so that each knows its place and finds the first.
  completionMode: Indexed
  completions: {{ $nodes }}
  parallelism: {{ $nodes }}
  {{- end }}
  backoffLimit: {{ int64 $training.backoffLimit }}
  {{- if ne (toString $training.activeDeadlineSeconds) "" }}
  activeDeadlineSeconds: {{ int64 $training.activeDeadlineSeconds }}
  {{- end }}
  ttlSecondsAfterFinished: {{ int64 $training.ttlSecondsAfterFinished }}
  # The next pod starts when the last has ended: two would write the same checkpoints.
  podReplacementPolicy: Failed
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
    metadata: {{- include "kubevoice.job.metadata" . | nindent 6 }}
    spec:
      {{- include "kubevoice.job.pod" . | nindent 6 }}
      {{- if .root.Values.storage.singleNode }}
      affinity: {{- include "kubevoice.job.sameNode" .root | nindent 8 }}
      {{- end }}
      {{- if gt $nodes 1 }}
      subdomain: {{ include "kubevoice.training.service" .root }}
      {{- end }}
      terminationGracePeriodSeconds: {{ int64 $training.terminationGracePeriodSeconds }}
      {{- with .root.Values.priorityClasses.training }}
      priorityClassName: {{ . }}
      {{- end }}
      containers:
        - name: training
          {{- include "kubevoice.job.container" .root | nindent 10 }}
          env: {{- include "kubevoice.job.env" (dict "root" .root "own" (include "kubevoice.training.env" .) "more" $training.env) | nindent 12 }}
          resources: {{- toYaml $resources | nindent 12 }}
          {{- if gt $nodes 1 }}
          ports:
            - {name: rendezvous, containerPort: 29400}
          {{- end }}
          terminationMessagePolicy: FallbackToLogsOnError  # the last line is the sentence that says why
          volumeMounts:
            {{- include "kubevoice.job.mounts" .root | nindent 12 }}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        {{- include "kubevoice.job.volumes" .root | nindent 8 }}
        - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.pods.sharedMemory }}}}
{{- end -}}

{{/* The Service by which the pods of a Job on several nodes find each other. */}}
{{- define "kubevoice.training.service" -}}
{{ include "kubevoice.fullname" . }}-training
{{- end -}}

{{/* How many processes train, and where the first of them is. JOB_COMPLETION_INDEX, the number of the pod, is Kubernetes' own. */}}
{{- define "kubevoice.training.env" -}}
- name: POD_UID  # by which the lock of a run says whose it is
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- if not .own.gpus }}
{{- /* As in _container.tpl: the default of an image may show the GPUs of the machine to any pod. */}}
- {name: NVIDIA_VISIBLE_DEVICES, value: void}
{{- end }}
{{- if eq .component "training" }}
- {name: NPROC_PER_NODE, value: {{ max 1 .own.gpus | quote }}}
{{- end }}
{{- if gt (int .own.nodes) 1 }}
- {name: NNODES, value: {{ int .own.nodes | quote }}}
- name: JOB_NAME
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
- {name: RDZV_ENDPOINT, value: "$(JOB_NAME)-0.{{ include "kubevoice.training.service" .root }}.{{ .root.Release.Namespace }}.svc:29400"}
{{- end }}
{{- end -}}
