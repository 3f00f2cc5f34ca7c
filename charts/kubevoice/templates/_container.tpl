{{/* The first container of the pods in _pod.tpl. */}}

{{- define "kubevoice.pod.container" -}}
{{- $resources := deepCopy .node.resources -}}
{{- if .node.gpus -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits (.node.gpuResource | default "nvidia.com/gpu") (int .node.gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
image: {{ include "kubevoice.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env:
  {{- include "kubevoice.pod.env" . | nindent 2 }}
{{- with .root.Values.pods.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
resources: {{- toYaml $resources | nindent 2 }}
securityContext: {{- include "kubevoice.containerSecurity" .root | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "kubevoice.pod.mounts" . | nindent 2 }}
{{- end -}}

{{/* The API server wants each name once: what the values set replaces what the chart sets, the group's what all pods have. */}}
{{- define "kubevoice.pod.env" -}}
{{- $all := concat (fromYamlArray (include "kubevoice.pod.ownEnv" .)) .root.Values.pods.env (.node.env | default list) -}}
{{- $names := list -}}
{{- range $all }}{{ $names = append $names .name }}{{ end -}}
{{- range $index, $variable := $all -}}
{{- if not (has $variable.name (slice $names (add1 $index | int))) }}
- {{- toYaml $variable | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Settings are parsed once, where Serve builds the application, and handed to the replicas: a node of Serve's choice, so that all nodes
have the same.
*/}}
{{- define "kubevoice.pod.ownEnv" -}}
{{- $values := .root.Values -}}
- {name: HOME, value: /tmp}
- {name: KUBEVOICE_DATA, value: /data}
{{ include "kubevoice.databaseEnv" .root }}
{{- /* Optional: a Secret of one's own may lack it; it is then a file on the volume. */}}
- name: KUBEVOICE_AUTH__PEPPER
  valueFrom: {secretKeyRef: {name: {{ include "kubevoice.keys" .root }}, key: api-key-pepper, optional: true}}
{{- with $values.quotas.redisSecret }}
{{- if .name }}
- name: KUBEVOICE_QUOTAS__REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- if $values.training.enabled }}
- {name: KUBEVOICE_LAUNCH__TEMPLATE, value: {{ include "kubevoice.fullname" .root }}-training-template}
{{- end }}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
{{- /* What replicas log goes to `kubectl logs`, not to files in the pod; Ray's own part only from warnings on. */}}
- {name: RAY_LOG_TO_STDERR, value: "1"}
- {name: RAY_BACKEND_LOG_LEVEL, value: warning}
{{- if not $values.ray.authentication }}
- {name: RAY_AUTH_MODE, value: disabled}
{{- end }}
{{- /* Ray leaves all devices visible to replicas without a GPU; the image's default shows those of the machine to any pod. */}}
- {name: RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO, value: "1"}
{{- if not .node.gpus }}
- {name: NVIDIA_VISIBLE_DEVICES, value: void}
{{- end }}
{{- /* A dead proxy is replaced after 4 seconds, by Ray's defaults after 30. */}}
- {name: RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S, value: "1"}
- {name: RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S, value: "2"}
{{- /* Cuts clients that stop reading. It runs in Ray's own processes, which have only the environment. */}}
- {name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, value: "serving.deployments.stalled:middlewares"}
{{- with $values.settings.limits }}
{{- with .stalled_client_s }}
- {name: KUBEVOICE_LIMITS__STALLED_CLIENT_S, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if $values.ray.haProxy }}
- {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
- {name: RAY_SERVE_DEFAULT_HTTP_HOST, value: 0.0.0.0}
{{- /* A change of replicas starts a new HAProxy; the old one may finish its streams. */}}
- {name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S, value: {{ add $values.lifecycle.longestUtteranceSeconds 30 | quote }}}
{{- end }}
{{- end -}}

{{- define "kubevoice.pod.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
- {name: shared-mem, mountPath: /dev/shm}
{{- if eq .component "head" }}
- {name: ray-logs, mountPath: /tmp/ray}
{{- end }}
{{- with .root.Values.pods.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* `shared-mem` and `ray-logs` are KubeRay's names: it takes them as they are instead of making its own without a limit. */}}
{{- define "kubevoice.pod.volumes" -}}
- {name: data, persistentVolumeClaim: {claimName: {{ include "kubevoice.claim" . }}}}
- {name: tmp, emptyDir: {sizeLimit: {{ .Values.pods.temporaryStorage }}}}
- {name: shared-mem, emptyDir: {medium: Memory, sizeLimit: {{ .Values.pods.sharedMemory }}}}
{{- with .Values.pods.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Ours instead of KubeRay's, whose worker probe needs wget and a shell every five seconds. /api/healthz on a node's dashboard agent is
its raylet, on the head the control store too. The model's load is not in here: a replica that loads takes no requests.
*/}}
{{- define "kubevoice.pod.probes" -}}
startupProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ max 1 (div .Values.lifecycle.startupSeconds 2) }}
livenessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 30
{{- end -}}

{{- define "kubevoice.pod.haProxyPort" -}}
{{- if .Values.ray.haProxy -}}
- {name: haproxy-metrics, containerPort: 9101}
{{- end -}}
{{- end -}}
