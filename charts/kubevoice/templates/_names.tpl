{{/* Names, labels and references that several templates share. */}}

{{- define "kubevoice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The base of every object's name; 40 characters leave room for the suffixes of this chart and of KubeRay. */}}
{{- define "kubevoice.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of an object: (dict "root" $ "component" "api"). */}}
{{- define "kubevoice.labels" -}}
{{ include "kubevoice.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with merge (dict) (.labels | default dict) .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What finds the pods of a component; without "component" those of the release. KubeRay sets app.kubernetes.io/name itself. */}}
{{- define "kubevoice.selectorLabels" -}}
app.kubernetes.io/part-of: {{ include "kubevoice.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: (dict "root" $ "name" "x" "component" "api" "annotations" (dict ...) "labels" (dict ...)). */}}
{{- define "kubevoice.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "kubevoice.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kubevoice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The Service in front of the API. An incremental upgrade has one for each Ray cluster, and this is KubeRay's name for the active one's. */}}
{{- define "kubevoice.service" -}}
{{ include "kubevoice.fullname" . }}{{ if eq .Values.upgrade.type "NewClusterWithIncrementalUpgrade" }}-serve-svc{{ end }}
{{- end -}}

{{/* The volume. */}}
{{- define "kubevoice.claim" -}}
{{- .Values.storage.existingClaim | default (printf "%s-data" (include "kubevoice.fullname" .)) -}}
{{- end -}}

{{/* The Secret with the keys: auth_token, api-key-pepper, postgresql-password, redis-password. */}}
{{- define "kubevoice.keys" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-keys" (include "kubevoice.fullname" .)) -}}
{{- end -}}

{{/* Environment that gives kubevoice its database. */}}
{{- define "kubevoice.databaseEnv" -}}
{{- if .Values.postgresql.bundled.enabled -}}
- name: DATABASE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "kubevoice.keys" . }}, key: postgresql-password}}
- name: KUBEVOICE_DATABASE__URL
  value: postgresql+psycopg://kubevoice:$(DATABASE_PASSWORD)@{{ include "kubevoice.fullname" . }}-postgresql:5432/kubevoice
{{- else -}}
{{- $secret := .Values.postgresql.existingSecret -}}
- name: KUBEVOICE_DATABASE__URL
  valueFrom: {secretKeyRef: {name: {{ $secret.name | default (printf "%s-database" (include "kubevoice.fullname" .)) }}, key: {{ ternary $secret.key "url" (ne $secret.name "") }}}}
{{- end -}}
{{- end -}}

{{- define "kubevoice.redisAddress" -}}
{{- ternary (printf "%s-redis:6379" (include "kubevoice.fullname" .)) .Values.redis.address .Values.redis.bundled.enabled -}}
{{- end -}}

{{/* Service accounts: (dict "root" $ "component" "head"). */}}
{{- define "kubevoice.serviceAccount" -}}
{{ include "kubevoice.fullname" .root }}-{{ .component }}
{{- end -}}

{{/* Security of every pod and container, as the Pod Security Standard "restricted" wants it. */}}
{{- define "kubevoice.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.pods.userId }}
runAsGroup: {{ int64 .Values.pods.userId }}
fsGroup: {{ int64 .Values.pods.userId }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "kubevoice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/*
Where a pod may run: (dict "root" $ "own" group), by what every pod is asked for and what its own values add. Of a label that both name,
the pod's own counts.
*/}}
{{- define "kubevoice.nodes" -}}
{{- with merge (dict) (.own.nodeSelector | default dict) .root.Values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .root.Values.pods.tolerations (.own.tolerations | default list) | uniq }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kubevoice.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
