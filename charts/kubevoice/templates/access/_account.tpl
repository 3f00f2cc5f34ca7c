{{/* metadata of a service account: (dict "root" $ "component" "head"). */}}
{{- define "kubevoice.account.metadata" -}}
{{- $name := include "kubevoice.serviceAccount" . -}}
{{- include "kubevoice.metadata" (dict "root" .root "name" $name "annotations" .root.Values.serviceAccounts.annotations) -}}
{{- end -}}
