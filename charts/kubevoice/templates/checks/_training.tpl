{{/* What serving and training share. */}}

{{- define "kubevoice.check.training" -}}
{{- $training := .Values.training -}}
{{- $classes := .Values.priorityClasses -}}
{{- $quota := toString $training.gpuQuota -}}
{{- if and $training.enabled (ne $quota "") -}}
{{- if not $classes.training }}
training.gpuQuota is {{ $quota }} and counts the pods of one priority class, and priorityClasses.training is empty: name a class there
{{- end -}}
{{- if and (gt (int $quota) 0) (gt (mul $training.nodes $training.gpus) (int64 $quota)) }}
training.gpus ({{ $training.gpus }}){{ if gt (int $training.nodes) 1 }} times training.nodes ({{ $training.nodes }}){{ end }} is above training.gpuQuota ({{ $quota }}), so that no Job would ever start: lower the former, or raise the latter
{{- end -}}
{{- end -}}
{{- if and $training.enabled (contains "/mig-" $training.gpuResource) (gt (int $training.gpus) 1) }}
training.gpus is {{ $training.gpus }} and training.gpuResource is {{ $training.gpuResource }}, of which CUDA shows a process one: set the former to 1, or take whole GPUs
{{- end -}}
{{- if and $training.enabled .Values.storage.singleNode (gt (int $training.nodes) 1) }}
training.nodes is {{ $training.nodes }} and storage.singleNode puts all pods on one node: set the former to 1 (training.gpus takes several GPUs of a node), or the latter to false
{{- end -}}
{{- if and $classes.serving (eq $classes.serving $classes.training) }}
priorityClasses.serving and priorityClasses.training are both {{ $classes.serving }}, so that neither gives way: name two classes
{{- end -}}
{{- if and $classes.create (not (or $classes.serving $classes.training)) }}
priorityClasses.create is true, and priorityClasses.serving and priorityClasses.training are empty: name the classes to make
{{- else if and $classes.create (le (int64 $classes.servingValue) (int64 $classes.trainingValue)) }}
priorityClasses.servingValue ({{ int64 $classes.servingValue }}) is not above priorityClasses.trainingValue ({{ int64 $classes.trainingValue }}), so that training would not give way to serving: raise the former
{{- end -}}
{{- end -}}

{{/*
GPUs of the cluster. Serving holds the fewest when nobody speaks, the most with all replicas; groups may stand in for each other, so that
the sum of theirs may be above that.
*/}}
{{- define "kubevoice.check.pool" -}}
{{- if ne (toString .Values.gpuPool) "" -}}
{{- $pool := int .Values.gpuPool -}}
{{- $most := 0 -}}
{{- $least := 0 -}}
{{- range .Values.workerGroups -}}
{{- $most = add $most (mul .maxReplicas (.gpus | default 0)) -}}
{{- $least = add $least (mul .minReplicas (.gpus | default 0)) -}}
{{- end -}}
{{- $each := include "kubevoice.serve.gpus" . -}}
{{- $fewest := mulf .Values.speech.minReplicas $each -}}
{{- $all := mulf .Values.speech.maxReplicas $each -}}
{{- if .Values.conversion.enabled -}}
{{- $own := include "kubevoice.serve.conversionGpus" . -}}
{{- $fewest = addf $fewest (mulf .Values.conversion.minReplicas $own) -}}
{{- $all = addf $all (mulf .Values.conversion.maxReplicas $own) -}}
{{- end -}}
{{- $floor := max $least ($fewest | ceil | int64) -}}
{{- $top := min $most ($all | ceil | int64) -}}
{{- if gt $top (int64 $pool) }}
gpuPool is {{ $pool }}, and serving may grow to {{ $top }} GPUs (speech.maxReplicas times speech.gpus, where the worker groups may have as many): lower speech.maxReplicas, or raise gpuPool if the cluster has them
{{- end -}}
{{- $quota := toString .Values.training.gpuQuota -}}
{{- if and .Values.training.enabled .Values.training.gpus (eq $quota "") }}
gpuPool is {{ $pool }} and training.gpuQuota is empty, so that training may take all of them: set the latter to {{ max 0 (sub $pool $floor) }} or less, or training.enabled to false
{{- end -}}
{{- if and .Values.training.enabled (ne $quota "") (gt (add $floor (int $quota)) (int64 $pool)) }}
training.gpuQuota ({{ $quota }}) and what serving always holds ({{ $floor }}: speech.minReplicas times speech.gpus, or minReplicas of the worker groups times gpus) are more than gpuPool ({{ $pool }}), so that training would starve serving: lower training.gpuQuota to {{ max 0 (sub $pool $floor) }} or less
{{- end -}}
{{- end -}}
{{- end -}}
