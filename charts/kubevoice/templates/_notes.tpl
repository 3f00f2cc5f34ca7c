{{/* A line for everything in these values that works and that an operator should know of. */}}
{{- define "kubevoice.notes.warnings" -}}
{{- if .Values.postgresql.bundled.enabled }}
- postgresql.bundled has no backup and no second server; name your own in postgresql.existingSecret
{{- end }}
{{- if .Values.redis.bundled.enabled }}
- redis.bundled is one server: while it restarts, the head cannot; name your own in redis.address
{{- end }}
{{- if not .Values.secrets.existingSecret }}
- keys are in the Secret {{ include "kubevoice.keys" . }} and stay there; tools that render without the cluster (Argo CD) would make new
  ones each time: give them secrets.existingSecret
{{- end }}
{{- if not .Values.ray.gcsFaultTolerance.enabled }}
- the loss of the Ray head interrupts the service{{ if .Values.podDisruptionBudgets.enabled }}, so a drain of its node waits for you{{ end }}; see ray.gcsFaultTolerance
{{- end }}
{{- if not .Values.ray.authentication }}
- ray.authentication is off: whoever reaches the ports of Ray runs code on them
{{- end }}
{{- if not .Values.networkPolicy.enabled }}
- networkPolicy.enabled is off: every pod of the cluster reaches the ports of Ray
{{- if .Values.tensorboard.enabled }} and TensorBoard, which has no login{{ end }}
{{- end }}
{{- if .Values.exposure.allowUnauthenticated }}
- until there is an API key, who reaches the address may use everything; make one:
  kubectl exec in a pod of the API: kubevoice keys create --help
{{- end }}
{{- if .Values.ingress.enabled }}
- let your ingress controller remove x-request-timeout-seconds, x-request-disconnect-disabled, x-session-id and
  serve_multiplexed_model_id from requests: Ray Serve takes orders from them
{{- end }}
{{- if and .Values.podDisruptionBudgets.enabled .Values.podDisruptionBudgets.training .Values.training.enabled }}
- podDisruptionBudgets.training is on: a drain of a node waits until the training on it has ended
{{- end }}
{{- if eq (int .Values.speech.minReplicas) 0 }}
- speech.minReplicas is 0: the first sentence after a pause waits for a pod, the weights and the model
{{- end }}
{{- if .Values.podDisruptionBudgets.enabled }}
{{- range .Values.workerGroups }}
{{- if and .minReplicas (not (include "kubevoice.disruption.budget" (dict "root" $ "group" .))) }}
- worker group {{ .name }} has no PodDisruptionBudget: it needs minReplicas of 2 or more and a replica for every pod
{{- end }}
{{- end }}
{{- end }}
{{- if not (or .Values.monitoring.podMonitors.enabled .Values.monitoring.rules.enabled) }}
- nothing watches it: monitoring.podMonitors.enabled, monitoring.rules.enabled and monitoring.dashboards.enabled
{{- end }}
{{- if and .Values.training.enabled (eq (toString .Values.training.gpuQuota) "") }}
- training.gpuQuota is empty: training Jobs may take every GPU
{{- end }}
{{- end -}}
