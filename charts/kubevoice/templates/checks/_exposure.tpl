{{/* Who reaches the API, and how it changes under them. */}}

{{- define "kubevoice.check.exposure" -}}
{{- $open := list -}}
{{- if .Values.ingress.enabled }}{{ $open = append $open "ingress.enabled is true" }}{{ end -}}
{{- if .Values.route.enabled }}{{ $open = append $open "route.enabled is true" }}{{ end -}}
{{- if ne .Values.service.type "ClusterIP" }}{{ $open = append $open (printf "service.type is %s" .Values.service.type) }}{{ end -}}
{{- if eq .Values.upgrade.type "NewClusterWithIncrementalUpgrade" }}{{ $open = append $open (printf "upgrade.type is %s, which makes a Gateway" .Values.upgrade.type) }}{{ end -}}
{{- if and $open (not .Values.exposure.allowUnauthenticated) }}
{{ join " and " $open }}, and until there is an API key whoever reaches the address may use everything: make one (kubevoice keys create, see docs/install.md), or put a proxy that authenticates in front, and set exposure.allowUnauthenticated to true
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
ingress.enabled is true and ingress.hosts is empty, so that it would answer for every host name: name the hosts
{{- end -}}
{{- if and .Values.route.enabled (not .Values.route.parentRefs) }}
route.enabled is true and route.parentRefs is empty, so that no gateway would serve it: name the gateways
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.upgrade" -}}
{{- $upgrade := .Values.upgrade -}}
{{- $stream := add .Values.lifecycle.gracefulShutdownSeconds .Values.lifecycle.longestUtteranceSeconds -}}
{{- if and (ne $upgrade.type "None") (lt (int64 $upgrade.deletionDelaySeconds) $stream) }}
upgrade.deletionDelaySeconds ({{ $upgrade.deletionDelaySeconds }}) is below lifecycle.gracefulShutdownSeconds ({{ .Values.lifecycle.gracefulShutdownSeconds }}) + lifecycle.longestUtteranceSeconds ({{ .Values.lifecycle.longestUtteranceSeconds }}), so that streams of the old cluster would be cut: raise it to {{ $stream }} or more
{{- end -}}
{{- if eq $upgrade.type "NewClusterWithIncrementalUpgrade" -}}
{{- if not $upgrade.gatewayClassName }}
upgrade.type is {{ $upgrade.type }} and upgrade.gatewayClassName is empty: name the GatewayClass (kubectl get gatewayclasses)
{{- end -}}
{{- if gt (int $upgrade.stepSizePercent) (int $upgrade.maxSurgePercent) }}
upgrade.stepSizePercent ({{ $upgrade.stepSizePercent }}) is above upgrade.maxSurgePercent ({{ $upgrade.maxSurgePercent }}), so that a step would move traffic to capacity that is not there: lower the former, or raise the latter
{{- end -}}
{{- range $key, $value := dict "ingress.enabled" .Values.ingress.enabled "route.enabled" .Values.route.enabled "service.type" (ternary false .Values.service.type (eq .Values.service.type "ClusterIP")) -}}
{{- if $value }}
{{ $key }} is {{ $value }} and upgrade.type is {{ $upgrade.type }}, which shares the traffic out at a Gateway of its own: {{ if eq $key "service.type" }}set service.type to ClusterIP{{ else }}set {{ $key }} to false{{ end }}, or upgrade.type to NewCluster
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ray's autoscaler owns the pods of the Ray cluster; a second one would take away what the first adds. */}}
{{- define "kubevoice.check.scalers" -}}
{{- $name := include "kubevoice.fullname" . -}}
{{- range .Values.extraObjects -}}
{{- range regexSplit "(?m)^---.*$" (tpl (kindIs "string" . | ternary . (toYaml .)) $) -1 -}}
{{- $object := fromYaml . -}}
{{- $target := dig "spec" "scaleTargetRef" dict $object -}}
{{- $ours := and (has $target.kind (list "RayService" "RayCluster")) (hasPrefix $name (toString $target.name)) -}}
{{- if and $ours (has $object.kind (list "HorizontalPodAutoscaler" "ScaledObject")) }}
extraObjects has the {{ $object.kind }} {{ dig "metadata" "name" "" $object }} for the {{ $target.kind }} {{ $target.name }}, whose pods Ray's own autoscaler starts and stops: remove it, and set speech.minReplicas, speech.maxReplicas and speech.targetOngoingRequests instead
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.alerts" -}}
{{- $alerts := list -}}
{{- range $path, $_ := .Files.Glob "alerts/*.yaml" -}}
{{- range ($.Files.Get $path | fromYaml).groups -}}
{{- range .rules }}{{ with .alert }}{{ $alerts = append $alerts . }}{{ end }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range .Values.monitoring.rules.disabled -}}
{{- if not (has . $alerts) }}
monitoring.rules.disabled names {{ . }}, which is no alert: take one of {{ join ", " (sortAlpha $alerts) }}
{{- end -}}
{{- end -}}
{{- end -}}
