{{/*
How Alibaba Cloud is reached: flags, environment, mounts, volumes of whatever asks it. Credentials come from one source, and are
mounted as files that are read again when they change.
*/}}
{{- define "kritis.alicloudArgs" -}}
{{- if .Values.alicloud.enabled }}
- --alicloud-config=/etc/kritis-alicloud/alicloud.yaml
{{- end }}
{{- end -}}

{{- define "kritis.alicloudEnv" -}}
{{- if and .Values.alicloud.enabled (eq .Values.alicloud.credentials.source "RRSA") }}
- {name: ALIBABA_CLOUD_ROLE_ARN, value: {{ required "alicloud.credentials.roleARN is missing: RRSA needs the role to assume" .Values.alicloud.credentials.roleARN | quote }}}
- {name: ALIBABA_CLOUD_OIDC_PROVIDER_ARN, value: {{ required "alicloud.credentials.oidcProviderARN is missing: RRSA needs the cluster's OIDC provider" .Values.alicloud.credentials.oidcProviderARN | quote }}}
- {name: ALIBABA_CLOUD_OIDC_TOKEN_FILE, value: /var/run/secrets/alicloud/token}
{{- end }}
{{- end -}}

{{- define "kritis.alicloudMounts" -}}
{{- if .Values.alicloud.enabled }}
- {name: alicloud, mountPath: /etc/kritis-alicloud, readOnly: true}
{{- if .Values.alicloud.caConfigMap }}
- {name: alicloud-ca, mountPath: /etc/kritis-alicloud-ca, readOnly: true}
{{- end }}
{{- if eq .Values.alicloud.credentials.source "RRSA" }}
- {name: alicloud-token, mountPath: /var/run/secrets/alicloud, readOnly: true}
{{- else if eq .Values.alicloud.credentials.source "AccessKey" }}
- {name: alicloud-keys, mountPath: /etc/kritis-alicloud-keys, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kritis.alicloudVolumes" -}}
{{- if .Values.alicloud.enabled }}
- name: alicloud
  configMap: {name: {{ include "kritis.name" . }}-alicloud}
{{- with .Values.alicloud.caConfigMap }}
- name: alicloud-ca
  configMap: {name: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- if eq .Values.alicloud.credentials.source "RRSA" }}
- name: alicloud-token
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, audience: sts.aliyuncs.com, expirationSeconds: 3600}
{{- else if eq .Values.alicloud.credentials.source "AccessKey" }}
- name: alicloud-keys
  secret: {secretName: {{ required "alicloud.credentials.secretName is missing: AccessKey needs a Secret with accessKeyId and accessKeySecret" .Values.alicloud.credentials.secretName | quote }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}

{{/* The custom domains of ACR instances, for whatever asks about images there. */}}
{{- define "kritis.acrHostArgs" -}}
{{- if .Values.alicloud.enabled }}
{{- range $host, $where := .Values.alicloud.acr.domains }}
- {{ printf "--acr-host=%s=%s/%s" $host $where.region $where.instance | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whose attestations agents and webhook ask the controller for. */}}
{{- define "kritis.askControllerArg" -}}
- --ask-controller={{ with .Values.alicloud }}{{ if and .enabled .acr.enabled }}{{ concat .acr.hosts (keys .acr.domains | sortAlpha) | join "," }}{{ end }}{{ end }}
{{- end -}}
