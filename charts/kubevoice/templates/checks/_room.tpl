{{/* Whether the pods have room for the replicas, by the GPUs and CPUs that Ray counts. */}}

{{- define "kubevoice.check.room" -}}
{{- $found := "" -}}
{{- $speech := dict "cpus" .Values.speech.cpus "gpus" (include "kubevoice.serve.gpus" .) -}}
{{- $roles := dict "api" (dict "cpus" .Values.api.cpus "gpus" 0) "speech" $speech -}}
{{- if .Values.conversion.enabled -}}
{{- $gpus := include "kubevoice.serve.conversionGpus" . -}}
{{- $_ := set $roles "conversion" (dict "cpus" .Values.conversion.cpus "gpus" $gpus) -}}
{{- end -}}
{{- range $role, $needs := $roles -}}
{{- $of := dict "root" $ "role" $role "needs" $needs -}}
{{- $found = printf "%s\n%s" $found (include "kubevoice.check.tight" $of | default (include "kubevoice.check.total" $of)) -}}
{{- end -}}
{{- $found | trim | default (include "kubevoice.check.shared" .) -}}
{{- end -}}

{{/* All roles may count on the CPUs and GPUs of the same group. */}}
{{- define "kubevoice.check.shared" -}}
{{- $wanted := addf (mulf .Values.speech.maxReplicas .Values.speech.cpus) (mulf .Values.api.maxReplicas .Values.api.cpus) -}}
{{- $others := "" -}}
{{- if .Values.conversion.enabled -}}
{{- $wanted = addf $wanted (mulf .Values.conversion.maxReplicas .Values.conversion.cpus) -}}
{{- $others = printf ", conversion.maxReplicas (%v) times conversion.cpus (%v)" .Values.conversion.maxReplicas .Values.conversion.cpus -}}
{{- end -}}
{{- $have := 0 -}}
{{- $gpus := 0 -}}
{{- range .Values.workerGroups -}}
{{- $have = add $have (mul .maxReplicas (include "kubevoice.check.cpu" .resources | default 1000)) -}}
{{- $gpus = add $gpus (mul .maxReplicas (.gpus | default 0)) -}}
{{- end -}}
{{- if gt $wanted (float64 $have) }}
speech.maxReplicas ({{ .Values.speech.maxReplicas }}) times speech.cpus ({{ .Values.speech.cpus }}){{ $others }} and api.maxReplicas ({{ .Values.api.maxReplicas }}) times api.cpus ({{ .Values.api.cpus }}) are {{ $wanted }} CPUs together, and the worker groups have {{ $have }}: raise maxReplicas or the CPUs of a group, or lower one of these
{{- end -}}
{{- if .Values.conversion.enabled -}}
{{- $speech := mulf .Values.speech.maxReplicas (include "kubevoice.serve.gpus" .) -}}
{{- $all := addf $speech (mulf .Values.conversion.maxReplicas (include "kubevoice.serve.conversionGpus" .)) -}}
{{- if gt $all (float64 $gpus) }}
speech.maxReplicas ({{ .Values.speech.maxReplicas }}) times speech.gpus ({{ .Values.speech.gpus }}) and conversion.maxReplicas ({{ .Values.conversion.maxReplicas }}) times conversion.gpus ({{ .Values.conversion.gpus }}) are {{ $all }} GPUs together, and the worker groups have {{ $gpus }}: raise maxReplicas or gpus of a group, or lower one of the four
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Groups whose pods hold not even one. */}}
{{- define "kubevoice.check.tight" -}}
{{- range .root.Values.workerGroups -}}
{{- if and (has $.role .runs) (eq (include "kubevoice.check.perPod" (dict "group" . "needs" $.needs)) "0") }}
worker group {{ .name }} runs {{ $.role }}, and its pods are too small for a replica: {{ $.role }}.cpus is {{ $.needs.cpus }} and its resources have {{ include "kubevoice.check.cpu" .resources | default "no" }} CPUs{{ if ne $.role "api" }}, {{ $.role }}.gpus is {{ $.needs.gpus }} and its gpus {{ .gpus | default 0 }}{{ end }}; give it more, or take {{ $.role }} out of its runs
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.total" -}}
{{- $room := 0 -}}
{{- $groups := list -}}
{{- range .root.Values.workerGroups -}}
{{- if has $.role .runs -}}
{{- $perPod := include "kubevoice.check.perPod" (dict "group" . "needs" $.needs) | int -}}
{{- $room = add $room (mul .maxReplicas $perPod) -}}
{{- $groups = append $groups (printf "%s %d pods of %d" .name (int .maxReplicas) $perPod) -}}
{{- end -}}
{{- end -}}
{{- $bounds := get .root.Values .role -}}
{{- if and $groups (lt $room (int64 $bounds.maxReplicas)) }}
{{ .role }}.maxReplicas is {{ $bounds.maxReplicas }}, and the worker groups that run {{ .role }} hold {{ $room }} replicas ({{ join ", " $groups }}): raise maxReplicas of a group, or lower {{ .role }}.maxReplicas to {{ $room }}
{{- else if and (ne .role "api") (eq $room (int64 $bounds.maxReplicas)) (gt (int $bounds.maxSurgePercent) 0) }}
{{ .role }}.maxSurgePercent is {{ $bounds.maxSurgePercent }}, and the worker groups have room for the {{ $room }} replicas of {{ .role }}.maxReplicas and none more ({{ join ", " $groups }}), so that under full load a change of settings would wait for ever: set the former to 0, or raise maxReplicas of a group
{{- end -}}
{{- end -}}

{{/*
Replicas that fit in a pod: (dict "group" group "needs" (dict "cpus" 1 "gpus" 0.5)). 1000 where nothing limits them. A share of a GPU
stays on one GPU.
*/}}
{{- define "kubevoice.check.perPod" -}}
{{- $fit := 1000 -}}
{{- $cpu := include "kubevoice.check.cpu" .group.resources -}}
{{- if and $cpu (gt (float64 .needs.cpus) 0.0) -}}
{{- $fit = min $fit (divf $cpu .needs.cpus | floor | int64) -}}
{{- end -}}
{{- if gt (float64 .needs.gpus) 0.0 -}}
{{- $has := .group.gpus | default 0 -}}
{{- $whole := gt (float64 .needs.gpus) 1.0 -}}
{{- $fit = min $fit (ternary (divf $has .needs.gpus) (mulf $has (divf 1 .needs.gpus | floor)) $whole | floor | int64) -}}
{{- end -}}
{{- $fit -}}
{{- end -}}

{{/* CPUs of a pod as Ray counts them: KubeRay takes the limit, else the request, and rounds up. Empty where there is neither. */}}
{{- define "kubevoice.check.cpu" -}}
{{- $cpu := toString ((.limits | default dict).cpu | default (.requests | default dict).cpu | default "") -}}
{{- if regexMatch "^[0-9.]+m$" $cpu -}}
{{- divf (trimSuffix "m" $cpu) 1000 | ceil | int64 -}}
{{- else if regexMatch "^[0-9.]+$" $cpu -}}
{{- ceil $cpu | int64 -}}
{{- end -}}
{{- end -}}
