{{- /* Refuses values that values.schema.json cannot refuse, with the reason. */ -}}
{{- define "flagstone.checks" -}}
{{- $known := .Files.Get "settings.yaml" | fromYaml -}}
{{- $ofChart := dict
    "DATA_DIR" "it is the volume /data"
    "INSTANCE_ID" "each pod has its own name"
    "HOST" "the service listens on all addresses of the pod"
    "MIGRATE_ON_START" "use migration.enabled"
    "PORT" "use service.port"
    "RELAY_UPSTREAM" "use relay.upstream" -}}
{{- range $name, $value := .Values.settings -}}
  {{- if hasKey $ofChart $name -}}
    {{- fail (printf "settings.%s: the chart sets it: %s." $name (get $ofChart $name)) -}}
  {{- else if has $name $known.secret -}}
    {{- if not (hasPrefix "sealed:" (toString $value)) -}}
      {{- fail (printf "settings.%s: it is secret. Put it into a Secret, and name its key in secrets.app.files.%s." $name $name) -}}
    {{- end -}}
  {{- else if hasSuffix "_FILE" $name | and (has (trimSuffix "_FILE" $name) $known.secret) -}}
    {{- fail (printf "settings.%s: name the key of the Secret in secrets.app.files.%s." $name (trimSuffix "_FILE" $name)) -}}
  {{- else if not (has $name $known.plain) -}}
    {{- fail (printf "settings.%s: Flagstone has no setting of this name. docs/settings.md lists them." $name) -}}
  {{- end -}}
{{- end -}}
{{- range $secret, $entry := .Values.secrets -}}
  {{- range $name, $key := $entry.files -}}
    {{- if not (has $name $known.secret) -}}
      {{- fail (printf "secrets.%s.files.%s: Flagstone has no secret setting of this name." $secret $name) -}}
    {{- end -}}
    {{- if hasKey $.Values.settings $name -}}
      {{- fail (printf "settings.%s: secrets.%s.files has it too. Remove one of them." $name $secret) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range list "DATABASE_ADMIN_URL" "DATABASE_MIGRATOR_URL" -}}
  {{- if hasKey $.Values.secrets.app.files . -}}
    {{- fail (printf "secrets.app.files.%s: the service must not have it. Only secrets.migrator.files may." .) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.relay.enabled (not (hasPrefix "https://" .Values.relay.upstream)) -}}
  {{- fail "relay.upstream: set the https URL of the service, or of another relay." -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.host) -}}
  {{- fail "host: set the host name of the Ingress or the HTTPRoute." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
  {{- fail "httpRoute.parentRefs: name a Gateway." -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.serviceMonitor.tokenSecret.name) -}}
  {{- fail "serviceMonitor.tokenSecret.name: name the Secret with a token that has the scope `read`." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
  {{- fail "autoscaling.minReplicas: must not exceed autoscaling.maxReplicas." -}}
{{- end -}}
{{- end -}}
