{{/* What the bundled databases have in common. */}}

{{/* Fields of the pod: (dict "root" $ "user" 70 "group" 70), the numbers those of the official image. */}}
{{- define "kubevoice.bundled.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "kubevoice.pullSecrets" .root }}
{{ . }}
{{- end }}
{{- include "kubevoice.nodes" (dict "root" .root "own" dict) }}
{{- with .root.Values.priorityClasses.serving }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .group }}
  fsGroup: {{ .group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* The volume: (dict "bundled" values "labels" text). A StatefulSet's claims are immutable: no label that changes with a version. */}}
{{- define "kubevoice.bundled.claim" -}}
volumeClaimTemplates:
  - metadata:
      name: data
      labels: {{- .labels | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .bundled.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .bundled.size }}
{{- end -}}
