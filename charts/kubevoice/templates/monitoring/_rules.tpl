{{/*
A list with the group, or an empty one: without the alerts that are switched off, each of the others with its runbook. (dict "group"
group "values" monitoring.rules). Not through tpl: the braces in annotations are Prometheus' own.
*/}}
{{- define "kubevoice.rules.group" -}}
{{- $kept := list -}}
{{- range $rule := .group.rules -}}
{{- if $rule.alert -}}
{{- $runbook := printf "%s/%s.md" (trimSuffix "/" $.values.runbookUrl) $rule.alert -}}
{{- $_ := set $rule "annotations" (set ($rule.annotations | default dict) "runbook_url" $runbook) -}}
{{- end -}}
{{- if not (has $rule.alert $.values.disabled) }}{{ $kept = append $kept $rule }}{{ end -}}
{{- end -}}
{{- if $kept }}{{ list (set .group "rules" $kept) | toYaml }}{{ else }}[]{{ end -}}
{{- end -}}
