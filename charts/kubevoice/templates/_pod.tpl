{{/*
Pods of the Ray cluster. What KubeRay 1.7 adds to them:
- the command (bash, `ulimit -n 65536; ray start ... --block`), RAY_* variables, restartPolicy Never, the labels ray.io/* and
  app.kubernetes.io/name; on the head the container `autoscaler` and the volume `ray-logs` between the two;
- on workers the init container `wait-gcs-ready`, with environment, mounts and security context of the first container.
The first container must be Ray's. A change of any line here makes a new RayCluster (see docs/upgrade.md), so nothing that changes with
the chart's version may stand in a pod: no helm.sh/chart label, no checksum.
*/}}

{{- define "kubevoice.pod.head" -}}
{{- $pod := dict "root" . "component" "head" "node" .Values.ray.head "account" "head" "token" true -}}
metadata: {{- include "kubevoice.pod.metadata" (merge (dict "extra" (dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false")) $pod) | nindent 2 }}
spec:
  {{- include "kubevoice.pod.spec" $pod | nindent 2 }}
  terminationGracePeriodSeconds: 60
  containers:
    - name: ray-head
      {{- include "kubevoice.pod.container" $pod | nindent 6 }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
        - {name: as-metrics, containerPort: 44217}
        - {name: dash-metrics, containerPort: 44227}
        {{- include "kubevoice.pod.haProxyPort" . | nindent 8 }}
      {{- include "kubevoice.pod.probes" . | nindent 6 }}
      readinessProbe:
        httpGet: {path: /api/healthz, port: 52365}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 10
  volumes:
    {{- include "kubevoice.pod.volumes" . | nindent 4 }}
    - {name: ray-logs, emptyDir: {sizeLimit: {{ .Values.pods.temporaryStorage }}}}
{{- end -}}

{{/* A worker: (dict "root" $ "group" group). Its proxy takes traffic and is ready once a replica runs beside it. */}}
{{- define "kubevoice.pod.worker" -}}
{{- $api := has "api" .group.runs -}}
{{- $pod := dict "root" .root "component" "worker" "node" .group "group" .group.name
  "account" (ternary "api" "worker" $api) "token" (and $api .root.Values.training.enabled) -}}
metadata: {{- include "kubevoice.pod.metadata" $pod | nindent 2 }}
spec:
  {{- include "kubevoice.pod.spec" $pod | nindent 2 }}
  terminationGracePeriodSeconds: {{ .root.Values.lifecycle.terminationGracePeriodSeconds }}
  containers:
    - name: ray-worker
      {{- include "kubevoice.pod.container" $pod | nindent 6 }}
      ports:
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
        {{- include "kubevoice.pod.haProxyPort" .root | nindent 8 }}
      {{- include "kubevoice.pod.probes" .root | nindent 6 }}
      readinessProbe:
        httpGet: {path: /-/healthz, port: serve}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          exec:
            command: {{- include "kubevoice.pod.drain" .root.Values.lifecycle | nindent 14 }}
  volumes:
    {{- include "kubevoice.pod.volumes" .root | nindent 4 }}
{{- end -}}

{{/*
Replicas start elsewhere and finish their streams here, while load balancers notice that the pod is gone. All of it happens before the
first SIGTERM, after which Ray gives a node 30 seconds; the sum is below terminationGracePeriodSeconds.
*/}}
{{- define "kubevoice.pod.drain" -}}
- kubevoice
- drain-node
- --timeout
- {{ add .preStopSeconds .gracefulShutdownSeconds .longestUtteranceSeconds | quote }}
- --settle
- {{ .preStopSeconds | quote }}
{{- end -}}

{{- define "kubevoice.pod.metadata" -}}
{{- $labels := fromYaml (include "kubevoice.selectorLabels" .) -}}
{{- with .group }}{{ $_ := set $labels "kubevoice.io/group" . }}{{ end -}}
labels: {{- toYaml (merge $labels (.node.labels | default dict) .root.Values.pods.labels) | nindent 2 }}
{{- with merge (dict) (.node.annotations | default dict) .root.Values.pods.annotations (.extra | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kubevoice.pod.spec" -}}
serviceAccountName: {{ include "kubevoice.serviceAccount" (dict "root" .root "component" .account) }}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
{{- with include "kubevoice.pullSecrets" .root }}
{{ . }}
{{- end }}
securityContext: {{- include "kubevoice.podSecurity" .root | nindent 2 }}
{{- include "kubevoice.pod.placement" . }}
{{- if and (eq .root.Values.settings.engine "xtts") .root.Values.models.xtts.wait }}
initContainers:
  {{- include "kubevoice.pod.weights" .root | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run. With storage.singleNode it joins the pods that have the volume; what the values ask for stays in force. */}}
{{- define "kubevoice.pod.placement" -}}
{{- with .node.priorityClassName | default .root.Values.priorityClasses.serving }}
priorityClassName: {{ . }}
{{- end }}
{{- with .node.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- include "kubevoice.nodes" (dict "root" .root "own" .node) }}
{{- $affinity := deepCopy (.node.affinity | default dict) -}}
{{- if .root.Values.storage.singleNode -}}
{{- $rule := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $ours := fromYaml (include "kubevoice.job.sameNode" .root) -}}
{{- $theirs := get $affinity "podAffinity" | default dict -}}
{{- $_ := set $theirs $rule (concat (get $theirs $rule | default list) (get $ours.podAffinity $rule)) -}}
{{- $_ := set $affinity "podAffinity" $theirs -}}
{{- end -}}
{{- with $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $spread := .node.topologySpread | default .root.Values.pods.topologySpread -}}
{{- if and .group $spread (not .root.Values.storage.singleNode) }}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ $spread }}
    labelSelector:
      matchLabels:
        {{- include "kubevoice.selectorLabels" . | nindent 8 }}
        kubevoice.io/group: {{ .group }}
    matchLabelKeys: [ray.io/cluster]
{{- end }}
{{- end -}}

{{/* Everywhere, because Serve builds the application on a node of its choice, mostly the head, and that reads the volume. */}}
{{- define "kubevoice.pod.weights" -}}
- name: weights
  image: {{ include "kubevoice.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [kubevoice, models, wait, --timeout, {{ .Values.lifecycle.startupSeconds | int64 | quote }}]
  env:
    - {name: HOME, value: /tmp}
    - {name: KUBEVOICE_DATA, value: /data}
    - {name: KUBEVOICE_XTTS__MODEL, value: {{ .Values.settings.xtts.model | quote }}}
  resources:
    requests: {cpu: 100m, memory: 256Mi}
    limits: {memory: 512Mi}
  securityContext: {{- include "kubevoice.containerSecurity" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: data, mountPath: /data, readOnly: true}
    - {name: tmp, mountPath: /tmp}
{{- end -}}
