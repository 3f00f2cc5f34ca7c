{{/*
"true" where every pod that a group always has also has a replica: (dict "root" $ "group" group). Serve spreads replicas over pods, so
that is so where one of what the group runs has as many replicas at least as all groups that run it have pods. While there are more pods
than those, replicas may be on them instead, and a drain waits until the autoscaler has given them back.
*/}}
{{- define "kubevoice.disruption.budget" -}}
{{- $values := .root.Values -}}
{{- $busy := false -}}
{{- range $role := .group.runs -}}
{{- $pods := 0 -}}
{{- range $values.workerGroups -}}
{{- if has $role .runs -}}{{- $pods = add $pods (int .minReplicas) -}}{{- end -}}
{{- end -}}
{{- $replicas := int (get $values $role).minReplicas -}}
{{- if ge $replicas (int $pods) -}}{{- $busy = true -}}{{- end -}}
{{- end -}}
{{- if and $busy (ge (int .group.minReplicas) 2) -}}true{{- end -}}
{{- end -}}
