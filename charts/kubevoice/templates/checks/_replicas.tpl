{{/* Bounds of replicas and of the groups of pods that hold them. */}}

{{/* What runs in worker groups, by the names of their values. */}}
{{- define "kubevoice.check.roles" -}}
api speech{{ if .Values.conversion.enabled }} conversion{{ end }}
{{- end -}}

{{- define "kubevoice.check.replicas" -}}
{{- range $role := include "kubevoice.check.roles" . | splitList " " -}}
{{- with get $.Values $role -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{ $role }}.minReplicas ({{ .minReplicas }}) is above {{ $role }}.maxReplicas ({{ .maxReplicas }}): lower the former, or raise the latter
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* 16 is the default of settings.limits.ongoing_per_replica. */ -}}
{{- $limit := .Values.settings.limits.ongoing_per_replica | default 16 -}}
{{- if gt (float64 .Values.speech.targetOngoingRequests) (float64 $limit) }}
speech.targetOngoingRequests ({{ .Values.speech.targetOngoingRequests }}) is above settings.limits.ongoing_per_replica ({{ $limit }}), so that replicas are full before autoscaling wants more: lower the former to {{ $limit }} or less, or raise the latter
{{- end -}}
{{- if and .Values.conversion.enabled (gt (float64 .Values.conversion.targetOngoingRequests) 16.0) }}
conversion.targetOngoingRequests ({{ .Values.conversion.targetOngoingRequests }}) is above the 16 windows that a replica takes, so that replicas are full before autoscaling wants more: lower it to 16 or less
{{- end -}}
{{- if and .Values.conversion.enabled (hasPrefix "cuda" .Values.settings.rvc.device) (eq (float64 .Values.conversion.gpus) 0.0) }}
conversion.gpus is 0 and settings.rvc.device is {{ .Values.settings.rvc.device }}, which a replica without a GPU does not have: raise the former, or set the latter to cpu
{{- end -}}
{{- if and (hasPrefix "cuda" .Values.settings.xtts.device) (eq .Values.settings.engine "xtts") (eq (float64 .Values.speech.gpus) 0.0) }}
speech.gpus is 0 and settings.xtts.device is {{ .Values.settings.xtts.device }}, which a replica without a GPU does not have: raise the former, or set the latter to cpu
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.groups" -}}
{{- $names := list -}}
{{- $runs := list -}}
{{- range .Values.workerGroups -}}
{{- $runs = concat $runs .runs -}}
{{- if has .name $names }}
workerGroups has two groups with the name {{ .name }}: rename one
{{- end -}}
{{- $names = append $names .name -}}
{{- if not (include "kubevoice.check.cpu" .resources) }}
resources of worker group {{ .name }} have no cpu, and Ray counts by it: set requests.cpu
{{- end -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
minReplicas ({{ .minReplicas }}) of worker group {{ .name }} is above its maxReplicas ({{ .maxReplicas }}): lower the former, or raise the latter
{{- end -}}
{{- end -}}
{{- range include "kubevoice.check.roles" . | splitList " " -}}
{{- if not (has . $runs) }}
no worker group runs {{ . }} (workerGroups: {{ join ", " $names }}): add {{ . }} to the runs of one of them
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Options of all pods beside what the chart gives them. */}}
{{- define "kubevoice.check.pods" -}}
{{- range .Values.pods.volumes -}}
{{- if has .name (list "data" "tmp" "shared-mem" "ray-logs" "shm") }}
pods.volumes has a volume with the name {{ .name }}, which the chart uses itself: give it another name
{{- end -}}
{{- end -}}
{{- end -}}
