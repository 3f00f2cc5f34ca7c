{{/* What Ray Serve runs: the text of serveConfigV2, as Ray 2.60 reads it. */}}

{{/*
Bounds, delays and resources override what serving/app.py sets: KubeRay hands a change of them to the running cluster, and the
replicas stay. A change of `args` replaces every replica.
The load balancer must close idle connections before Serve does, hence keep_alive_timeout_s. There is no request_timeout_s, which
would cut streams.
*/}}
{{- define "kubevoice.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
  keep_alive_timeout_s: {{ add .Values.lifecycle.loadBalancerTimeoutSeconds 5 }}
logging_config:
  encoding: {{ .Values.settings.log.format | upper }}
  log_level: {{ .Values.settings.log.level }}
  enable_access_log: false
applications:
  - name: kubevoice
    route_prefix: /
    import_path: serving.app:build
    args: {{- include "kubevoice.serve.args" . | nindent 6 }}
    deployments:
      - name: Ingress
        {{- include "kubevoice.serve.replicas" (dict "root" . "bounds" .Values.api) | nindent 8 }}
        graceful_shutdown_timeout_s: {{ .Values.lifecycle.gracefulShutdownSeconds }}
        ray_actor_options:
          num_cpus: {{ .Values.api.cpus }}
          num_gpus: 0
          resources: {kubevoice-api: 0.001}
      {{- if ne (dig "workers" 1 .Values.settings.jobs | int) 0 }}
      - name: Jobs
        num_replicas: {{ dig "workers" 1 .Values.settings.jobs }}
        graceful_shutdown_timeout_s: {{ .Values.lifecycle.gracefulShutdownSeconds }}
        ray_actor_options:
          num_cpus: 0
          num_gpus: 0
          resources: {kubevoice-api: 0.001}
      {{- end }}
      - name: {{ title .Values.settings.engine }}
        {{- include "kubevoice.serve.replicas" (dict "root" . "bounds" .Values.speech) | nindent 8 }}
        max_surge_percent: {{ .Values.speech.maxSurgePercent }}
        graceful_shutdown_timeout_s: {{ .Values.lifecycle.gracefulShutdownSeconds }}
        ray_actor_options:
          num_cpus: {{ .Values.speech.cpus }}
          num_gpus: {{ include "kubevoice.serve.gpus" . }}
          resources: {kubevoice-speech: 0.001}
      {{- if .Values.conversion.enabled }}
      - name: Rvc
        {{- include "kubevoice.serve.replicas" (dict "root" . "bounds" .Values.conversion) | nindent 8 }}
        max_surge_percent: {{ .Values.conversion.maxSurgePercent }}
        graceful_shutdown_timeout_s: {{ .Values.lifecycle.gracefulShutdownSeconds }}
        ray_actor_options:
          num_cpus: {{ .Values.conversion.cpus }}
          num_gpus: {{ include "kubevoice.serve.conversionGpus" . }}
          resources: {kubevoice-conversion: 0.001}
      {{- end }}
{{- end -}}

{{/* The settings. Of `replicas` only what the engines ask about: whether Ray assigns their GPU. */}}
{{- define "kubevoice.serve.args" -}}
{{- $cluster := dict "data" "/data" "replicas" (dict "gpus" (include "kubevoice.serve.gpus" . | float64)) -}}
{{- $rvc := dict "enabled" (toString .Values.conversion.enabled) -}}
{{- if .Values.conversion.enabled -}}
{{- $_ := set $rvc "replicas" (dict "gpus" (include "kubevoice.serve.conversionGpus" . | float64)) -}}
{{- end -}}
{{- $_ := set $cluster "rvc" $rvc -}}
{{- toYaml (merge $cluster (deepCopy .Values.settings)) -}}
{{- end -}}

{{- define "kubevoice.serve.gpus" -}}
{{- $settings := .Values.settings -}}
{{- ternary .Values.speech.gpus 0 (and (eq $settings.engine "xtts") (ne $settings.xtts.device "cpu")) -}}
{{- end -}}

{{- define "kubevoice.serve.conversionGpus" -}}
{{- ternary .Values.conversion.gpus 0 (ne .Values.settings.rvc.device "cpu") -}}
{{- end -}}

{{/*
How many replicas: (dict "root" $ "bounds" .Values.speech). Serve refuses num_replicas and autoscaling_config together.
metrics_interval_s is deprecated, but its successor is not read by Ray 2.60; its default would make every decision 10 s late.
*/}}
{{- define "kubevoice.serve.replicas" -}}
{{- $delays := .root.Values.speech -}}
{{- if eq (int .bounds.minReplicas) (int .bounds.maxReplicas) -}}
num_replicas: {{ .bounds.minReplicas }}
{{- else -}}
autoscaling_config:
  min_replicas: {{ .bounds.minReplicas }}
  max_replicas: {{ .bounds.maxReplicas }}
  target_ongoing_requests: {{ .bounds.targetOngoingRequests }}
  metrics_interval_s: 1
  look_back_period_s: 2
  upscale_delay_s: {{ $delays.upscaleDelaySeconds }}
  downscale_delay_s: {{ $delays.downscaleDelaySeconds }}
  {{- if eq (int .bounds.minReplicas) 0 }}
  initial_replicas: 1  # an installation proves its weights once
  downscale_to_zero_delay_s: {{ $delays.downscaleToZeroDelaySeconds | int64 }}
  {{- end }}
{{- end -}}
{{- end -}}
