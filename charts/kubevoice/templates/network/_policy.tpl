{{/* Parts of the NetworkPolicies. A rule without `from` or `to` means everyone; policies add up. */}}

{{/* metadata: (dict "root" $ "name" "dns"). */}}
{{- define "kubevoice.policy.metadata" -}}
{{- include "kubevoice.metadata" (dict "root" .root "name" (printf "%s-%s" (include "kubevoice.fullname" .root) .name)) -}}
{{- end -}}

{{/* Pods of the Ray cluster. */}}
{{- define "kubevoice.policy.ray" -}}
matchLabels: {{- include "kubevoice.selectorLabels" (dict "root" .) | nindent 2 }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [head, worker]}
{{- end -}}

{{/* Pods of one component: (dict "root" $ "component" "head"). */}}
{{- define "kubevoice.policy.component" -}}
matchLabels: {{- include "kubevoice.selectorLabels" . | nindent 2 }}
{{- end -}}

{{/* Worker pods that run the API. */}}
{{- define "kubevoice.policy.api" -}}
{{- $groups := list -}}
{{- range .Values.workerGroups -}}
{{- if has "api" .runs -}}{{- $groups = append $groups .name -}}{{- end -}}
{{- end -}}
matchLabels: {{- include "kubevoice.selectorLabels" (dict "root" . "component" "worker") | nindent 2 }}
matchExpressions:
  - {key: kubevoice.io/group, operator: In, values: {{ toJson $groups }}}
{{- end -}}

{{/* Peers from a list of CIDRs. */}}
{{- define "kubevoice.policy.cidrs" -}}
{{- range . }}
- ipBlock: {cidr: {{ . }}}
{{- end }}
{{- end -}}

{{/* Rule towards the Kubernetes API server. */}}
{{- define "kubevoice.policy.apiServer" -}}
{{- with .Values.networkPolicy.apiServer -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}}
    {{- end }}
  {{- with .cidrs }}
  to: {{- include "kubevoice.policy.cidrs" . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Port at the end of an address, or the usual one: (dict "address" "host:1234/name" "usual" 5432). */}}
{{- define "kubevoice.policy.port" -}}
{{- regexFind ":[0-9]+(/|\\?|$)" .address | trimPrefix ":" | trimSuffix "/" | trimSuffix "?" | default .usual -}}
{{- end -}}
