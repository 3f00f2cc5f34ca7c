{{/* Nodes of the Ray cluster as KubeRay starts them. All `ray start` parameters are strings. */}}

{{/* Every node. The ports are fixed so that network policies can name them. */}}
{{- define "kubevoice.ray.start" -}}
node-manager-port: "6380"
object-manager-port: "6381"
runtime-env-agent-port: "6382"
dashboard-agent-grpc-port: "6383"
dashboard-agent-listen-port: "52365"
metrics-export-port: "8080"
min-worker-port: "10002"
max-worker-port: "19999"
object-store-memory: {{ mulf 0.9 (include "kubevoice.ray.bytes" .Values.pods.sharedMemory) | int64 | quote }}
{{- end -}}

{{/*
Bytes of a quantity. Ray sizes its object store by the pod's memory and, when /dev/shm is smaller, moves it to the disk: it has to
be told.
*/}}
{{- define "kubevoice.ray.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $number := regexFind "^[0-9.]+" (toString .) -}}
{{- $unit := trimPrefix $number (toString .) -}}
{{- mulf $number (get $units $unit | default 1) | int64 -}}
{{- end -}}

{{/* The head: it holds the control plane and no replicas, hence no CPUs and GPUs. */}}
{{- define "kubevoice.ray.headStart" -}}
{{- $own := fromYaml (include "kubevoice.ray.start" .) -}}
{{- $head := dict
  "port" "6379"
  "dashboard-host" "0.0.0.0"
  "dashboard-port" "8265"
  "ray-client-server-port" "10001"
  "num-cpus" "0"
  "num-gpus" "0"
-}}
{{- range $name, $value := merge (dict) .Values.ray.headStartParams $head $own }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
A group of workers: (dict "root" $ "group" group).
- No `replicas`: the number is the Ray autoscaler's, which writes it to the RayCluster that KubeRay makes of this. KubeRay starts a
  group without it at minReplicas.
- num-gpus always: KubeRay and the autoscaler guess it from the resource's name, and the autoscaler does not know MIG; without it Ray
  looks at the devices it sees.
- resources: whole numbers in JSON in single quotes, which is what the shell of KubeRay and the parser of the autoscaler both take.
*/}}
{{- define "kubevoice.ray.workerGroup" -}}
{{- $offers := dict -}}
{{- range .group.runs -}}
{{- $_ := set $offers (printf "kubevoice-%s" .) 1000 -}}
{{- end -}}
groupName: {{ .group.name }}
minReplicas: {{ .group.minReplicas }}
maxReplicas: {{ .group.maxReplicas }}
{{- with .group.priority }}
priority: {{ . }}
{{- end }}
rayStartParams:
  {{- include "kubevoice.ray.start" .root | nindent 2 }}
  num-gpus: {{ .group.gpus | default 0 | quote }}
  resources: {{ printf "'%s'" (toJson $offers) | quote }}
template: {{- include "kubevoice.pod.worker" . | nindent 2 }}
{{- end -}}

{{/*
The autoscaler beside the head. It gives up on a pod that does not start: the image, a new machine and the weights take as long as
startupSeconds allow.
*/}}
{{- define "kubevoice.ray.autoscaler" -}}
version: v2
idleTimeoutSeconds: {{ .Values.ray.autoscaler.idleTimeoutSeconds | int64 }}
upscalingMode: {{ .Values.ray.autoscaler.upscalingMode }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources: {{- toYaml .Values.ray.autoscaler.resources | nindent 2 }}
securityContext: {{- include "kubevoice.containerSecurity" . | nindent 2 }}
env:
  - {name: HOME, value: /tmp}
  - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
  - {name: RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S, value: {{ .Values.lifecycle.startupSeconds | int64 | quote }}}
  {{- if not .Values.ray.authentication }}
  - {name: RAY_AUTH_MODE, value: disabled}
  {{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{/*
Ray's control state in Redis. No externalStorageNamespace: KubeRay takes the RayCluster's uid, so that the new cluster of an upgrade
does not read the old one's state.
*/}}
{{- define "kubevoice.ray.redis" -}}
redisAddress: {{ include "kubevoice.redisAddress" . }}
{{- $secret := .Values.redis.existingSecret -}}
{{- if .Values.redis.bundled.enabled }}
redisPassword:
  valueFrom: {secretKeyRef: {name: {{ include "kubevoice.keys" . }}, key: redis-password}}
{{- else if $secret.name }}
redisPassword:
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}
{{- end }}
{{- end -}}
