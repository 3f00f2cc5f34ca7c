{{/* PostgreSQL: one of three. Redis, where Ray's control state is kept in it: one of two. A URL holds a password and is not shown. */}}
{{- define "kubevoice.check.databases" -}}
{{- $named := list -}}
{{- with .Values.postgresql -}}
{{- if .existingSecret.name }}{{ $named = append $named (printf "postgresql.existingSecret.name (%s)" .existingSecret.name) }}{{ end -}}
{{- if .url }}{{ $named = append $named "postgresql.url" }}{{ end -}}
{{- if .bundled.enabled }}{{ $named = append $named "postgresql.bundled.enabled (true)" }}{{ end -}}
{{- end -}}
{{- if not $named }}
no database is named: set postgresql.existingSecret.name, postgresql.url, or for a trial postgresql.bundled.enabled
{{- else if gt (len $named) 1 }}
{{ join " and " $named }} are {{ len $named }} databases: keep one of them and clear the rest
{{- end -}}
{{- if .Values.ray.gcsFaultTolerance.enabled -}}
{{- include "kubevoice.check.redis" .Values.redis -}}
{{- end -}}
{{- end -}}

{{- define "kubevoice.check.redis" -}}
{{- if and .address .bundled.enabled }}
redis.address ({{ .address }}) and redis.bundled.enabled (true) are 2 databases for Ray's control state: clear the former, or set the latter to false
{{- else if not (or .address .bundled.enabled) }}
ray.gcsFaultTolerance.enabled is true, and no Redis is named: set redis.address, or for a trial redis.bundled.enabled
{{- end -}}
{{- if and .existingSecret.name .bundled.enabled }}
redis.existingSecret.name ({{ .existingSecret.name }}) is the password of redis.address, and redis.bundled.enabled is true, whose password is among the chart's keys: clear the former, or set the latter to false
{{- end -}}
{{- end -}}
