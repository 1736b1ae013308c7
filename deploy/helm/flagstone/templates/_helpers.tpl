{{- define "flagstone.name" -}}
{{- if contains "flagstone" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-flagstone" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "flagstone.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Takes a list: the root, and the component. */ -}}
{{- define "flagstone.selector" -}}
app.kubernetes.io/name: flagstone
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "flagstone.labels" -}}
{{- $root := index . 0 -}}
{{ include "flagstone.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- /* A number of 7 digits or more would get an exponent. */ -}}
{{- define "flagstone.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- /* The environment of a container. Takes a list: the root, and the names of the secrets. */ -}}
{{- define "flagstone.environment" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.relay.enabled }}
- name: RELAY_UPSTREAM
  value: {{ $root.Values.relay.upstream | quote }}
{{- else }}
- name: MIGRATE_ON_START
  value: "false"
{{- end }}
{{- if and $root.Values.host (not (hasKey $root.Values.settings "PUBLIC_URL")) }}
- name: PUBLIC_URL
  value: {{ printf "https://%s" $root.Values.host | quote }}
{{- end }}
{{- range $name, $value := $root.Values.settings }}
- name: {{ $name }}
  value: {{ include "flagstone.text" $value | quote }}
{{- end }}
{{- range $secret := index . 1 }}
{{- range $name, $key := (get $root.Values.secrets $secret).files }}
- name: {{ $name }}_FILE
  value: /etc/flagstone/{{ $secret }}/{{ $key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "flagstone.mounts" -}}
- name: data
  mountPath: /data
{{- range . }}
- name: {{ . }}-secret
  mountPath: /etc/flagstone/{{ . }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "flagstone.volumes" -}}
{{- $root := index . 0 -}}
- name: data
  emptyDir:
    sizeLimit: 1Gi
{{- range index . 1 }}
- name: {{ . }}-secret
  secret:
    secretName: {{ (get $root.Values.secrets .).name }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "flagstone.pod" -}}
automountServiceAccountToken: false
# Variables such as FLAGSTONE_PORT would only confuse.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "flagstone.container" -}}
image: {{ include "flagstone.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* The longest stop of the service, and 10 seconds. */ -}}
{{- define "flagstone.stopSeconds" -}}
{{- $drain := dig "DRAIN_SECONDS" 5 .Values.settings | float64 -}}
{{- $shutdown := dig "SHUTDOWN_TIMEOUT" 8 .Values.settings | float64 -}}
{{ addf $drain (mulf 2 $shutdown) 15 | ceil | int }}
{{- end -}}
