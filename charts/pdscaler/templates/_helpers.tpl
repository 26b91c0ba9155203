{{- define "pdscaler.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pdscaler.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pdscaler.labels" -}}
{{ include "pdscaler.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "pdscaler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pdscaler.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pdscaler.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Where the credentials of one Prometheus endpoint are mounted. */}}
{{- define "pdscaler.credentialsPath" -}}
/etc/pdscaler-credentials/{{ . }}
{{- end -}}

{{/* The operator's configuration file. */}}
{{- define "pdscaler.config" -}}
{{- $endpoints := dict -}}
{{- range $name, $endpoint := .Values.prometheus.endpoints -}}
{{- $path := include "pdscaler.credentialsPath" $name -}}
{{- $settings := omit $endpoint "caFrom" "bearerTokenFrom" "clientCertFrom" -}}
{{- if $endpoint.caFrom -}}{{- $_ := set $settings "caFile" (printf "%s/ca.crt" $path) -}}{{- end -}}
{{- if $endpoint.bearerTokenFrom -}}{{- $_ := set $settings "bearerTokenFile" (printf "%s/token" $path) -}}{{- end -}}
{{- if $endpoint.clientCertFrom -}}
{{- $_ := set $settings "clientCertFile" (printf "%s/tls.crt" $path) -}}
{{- $_ := set $settings "clientKeyFile" (printf "%s/tls.key" $path) -}}
{{- end -}}
{{- $_ := set $endpoints $name $settings -}}
{{- end -}}
evaluationPeriod: {{ .Values.config.evaluationPeriod }}
logFormat: {{ .Values.config.logFormat }}
verifyPlans: {{ .Values.config.verifyPlans }}
metricsAddress: 0.0.0.0:{{ .Values.metrics.port }}
healthAddress: 0.0.0.0:{{ .Values.health.port }}
namespaces: {{ .Values.namespaces | toJson }}
prometheus:
  endpoints:
    {{- toYaml $endpoints | nindent 4 }}
  allowedUrls: {{ .Values.prometheus.allowedUrls | toJson }}
{{- if .Values.presets }}
presets: /etc/pdscaler-presets
{{- end }}
{{- end -}}

{{/* Rights on namespaced objects: the same as a ClusterRole or as a Role in each namespace. */}}
{{- define "pdscaler.rules" -}}
- apiGroups: [pdscaler.io]
  resources: [pddeployments]
  verbs: [get, list, watch]
- apiGroups: [pdscaler.io]
  resources: [pddeployments/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
# Other autoscalers on the same targets are noticed, not fought. Without these nothing breaks, and AbleToScale says so.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch]
{{- range .Values.targets }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: {{ .resources | toJson }}
  verbs: [get, list, watch]
- apiGroups: [{{ .apiGroup | quote }}]
  resources:
  {{- range .resources }}
  - {{ . }}/scale
  {{- end }}
  verbs: [get, patch]
{{- end }}
{{- end -}}
