{{/* A check writes a line for each problem: the keys, their values and the mend. All of them are reported at once. */}}

{{- define "kubevoice.checks" -}}
{{- $problems := list -}}
{{- range list "names" "models" "databases" "storage" "lifecycle" "replicas" "groups" "pods" "room" "pool" "training" "exposure" "upgrade" "scalers" "alerts" -}}
{{- range include (printf "kubevoice.check.%s" .) $ | splitList "\n" -}}
{{- if trim . -}}{{- $problems = append $problems (printf "- %s" (trim .)) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "values that do not fit together:\n\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{/* KubeRay and the chart append to the base of the names; Services take no dots and no digit in front. */}}
{{- define "kubevoice.check.names" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- if gt (len $full) 40 }}
the names of objects begin with {{ $full }}, {{ len $full }} characters, and 40 leave room for what is appended: set fullnameOverride, or choose a shorter name for the release
{{- else if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) }}
the names of objects begin with {{ $full }}, and a Service's name starts with a letter and has letters, digits and hyphens only: set fullnameOverride, or choose another name for the release
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.models" -}}
{{- $download := .Values.models.xtts.download -}}
{{- if $download.enabled -}}
{{- if eq .Values.settings.engine "espeak" }}
models.xtts.download.enabled is true and settings.engine is espeak, which needs no weights: set the former to false, or the latter to xtts
{{- else if not $download.acceptLicence }}
models.xtts.download.acceptLicence is false, and the weights are under the Coqui Public Model License 1.0.0 (non-commercial, https://coqui.ai/cpml): set it to true if you accept that, or models.xtts.download.enabled to false
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.storage" -}}
{{- with .Values.storage -}}
{{- if and (eq .accessMode "ReadWriteOnce") (not .singleNode) }}
storage.accessMode is ReadWriteOnce, a volume that one node can mount, and storage.singleNode is false, so that pods start on others: set storage.singleNode to true, or storage.accessMode to ReadWriteMany
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Seconds, in the order in which a pod ends. */}}
{{- define "kubevoice.check.lifecycle" -}}
{{- with .Values.lifecycle -}}
{{- $sum := add .preStopSeconds .gracefulShutdownSeconds .longestUtteranceSeconds -}}
{{- if ge $sum (int64 .terminationGracePeriodSeconds) }}
lifecycle.preStopSeconds ({{ .preStopSeconds }}) + lifecycle.gracefulShutdownSeconds ({{ .gracefulShutdownSeconds }}) + lifecycle.longestUtteranceSeconds ({{ .longestUtteranceSeconds }}) is {{ $sum }}, not below lifecycle.terminationGracePeriodSeconds ({{ .terminationGracePeriodSeconds }}), so that Kubernetes would kill pods that still speak: raise the last above {{ $sum }}, or lower the others
{{- end -}}
{{- if ge (int64 .terminationGracePeriodSeconds) (int64 .loadBalancerTimeoutSeconds) }}
lifecycle.terminationGracePeriodSeconds ({{ .terminationGracePeriodSeconds }}) is not below lifecycle.loadBalancerTimeoutSeconds ({{ .loadBalancerTimeoutSeconds }}), so that the load balancer would cut what a stopping pod still finishes: raise the latter above {{ .terminationGracePeriodSeconds }}, here and at the load balancer
{{- end -}}
{{- if lt (int64 .gracefulShutdownSeconds) (int64 .longestUtteranceSeconds) }}
lifecycle.gracefulShutdownSeconds ({{ .gracefulShutdownSeconds }}) is below lifecycle.longestUtteranceSeconds ({{ .longestUtteranceSeconds }}), so that a replica that stops would cut its longest streams: raise it to {{ .longestUtteranceSeconds }} or more
{{- end -}}
{{- end -}}
{{- end -}}
