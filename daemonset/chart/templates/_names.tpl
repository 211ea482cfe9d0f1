{{/* The beginning of all names. */}}
{{- define "kritis.name" -}}
{{- .Values.nameOverride | default "kritis" | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of every object. Call with (dict "root" $ "component" "…"). */}}
{{- define "kritis.labels" -}}
{{ include "kritis.selector" . }}
app.kubernetes.io/part-of: kritis-node
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "-" | trunc 63 | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | quote }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels by which pods are found; they never change. */}}
{{- define "kritis.selector" -}}
app.kubernetes.io/name: kritis-node
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "kritis.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion | replace "+" "-" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What every container that needs nothing may do. */}}
{{- define "kritis.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Whether the plugin runs as a pod; anything but the two is refused by the schema. */}}
{{- define "kritis.failurePolicy" -}}
{{- if ne .Values.webhook.failurePolicy "auto" -}}
{{ .Values.webhook.failurePolicy }}
{{- else if eq .Values.plugin.placement "host" -}}
Ignore
{{- else -}}
Fail
{{- end -}}
{{- end -}}

{{/* Of pods: no version of the chart, so that a new chart alone restarts nothing; what is read at start only, so that its change does. */}}
{{- define "kritis.podMetadata" -}}
labels:
  {{- include "kritis.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: kritis-node
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kritis.grafeas.io/registries: {{ toJson .root.Values.registries | sha256sum | trunc 16 | quote }}
  {{- if and .root.Values.alicloud.enabled (or (eq .component "controller") .root.Values.alicloud.acr.logins) }}
  kritis.grafeas.io/alicloud: {{ toJson .root.Values.alicloud | sha256sum | trunc 16 | quote }}
  {{- end }}
  {{- if .root.Values.monitoring.annotations }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .port | quote }}
  prometheus.io/path: /metrics
  {{- end }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* How registries are reached: flags, mounts, volumes of the agent and of the webhook. */}}
{{- define "kritis.registryArgs" -}}
{{- if .Values.registries.config }}
- --registry-config=/etc/kritis-registries/registries.yaml
{{- end }}
{{- if .Values.registries.dockerConfigSecret }}
- --docker-config=/etc/kritis-docker/.dockerconfigjson
{{- end }}
{{- end -}}

{{- define "kritis.registryMounts" -}}
{{- if .Values.registries.config }}
- {name: registries, mountPath: /etc/kritis-registries, readOnly: true}
{{- end }}
{{- if .Values.registries.dockerConfigSecret }}
- {name: docker-config, mountPath: /etc/kritis-docker, readOnly: true}
{{- end }}
{{- end -}}

{{- define "kritis.registryVolumes" -}}
{{- if .Values.registries.config }}
- name: registries
  configMap: {name: {{ include "kritis.name" . }}-registries}
{{- end }}
{{- if .Values.registries.dockerConfigSecret }}
- name: docker-config
  secret: {secretName: {{ .Values.registries.dockerConfigSecret | quote }}}
{{- end }}
{{- end -}}
