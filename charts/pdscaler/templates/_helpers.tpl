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
leaderElection: {{ .Values.leaderElection.enabled }}
{{- if .Values.leaderElection.enabled }}
leaseName: {{ include "pdscaler.leaseName" . }}
leaseDuration: {{ .Values.leaderElection.leaseDuration }}
renewDeadline: {{ .Values.leaderElection.renewDeadline }}
retryPeriod: {{ .Values.leaderElection.retryPeriod }}
{{- end }}
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

{{/* The Lease; not the name of any object here, for kustomize would take it for a reference to that one. */}}
{{- define "pdscaler.leaseName" -}}
{{ include "pdscaler.fullname" . | trunc 56 | trimSuffix "-" }}-leader
{{- end -}}

{{/* Where the replicas run: on nodes of their own, if there are any and nothing else is asked for. */}}
{{- define "pdscaler.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if and (gt (int .Values.replicaCount) 1) (not (hasKey $affinity "podAntiAffinity")) -}}
{{- $selector := dict "matchLabels" (include "pdscaler.selectorLabels" . | fromYaml) -}}
{{- $term := dict "labelSelector" $selector "topologyKey" "kubernetes.io/hostname" -}}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred) -}}
{{- end -}}
{{- if $affinity -}}{{- toYaml $affinity -}}{{- end -}}
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
  verbs: [list, watch]
- apiGroups: [{{ .apiGroup | quote }}]
  resources:
  {{- range .resources }}
  - {{ . }}/scale
  {{- end }}
  verbs: [get, patch]
{{- end }}
{{- end -}}
