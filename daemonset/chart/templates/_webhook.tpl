{{/* Namespaces that are not judged at admission; nodes judge them all the same. A JSON list. */}}
{{- define "kritis.exemptNamespaces" -}}
{{- concat (list "kube-system" .Release.Namespace) .Values.webhook.exemptNamespaces | uniq | toJson -}}
{{- end -}}

{{- define "kritis.certificateSecret" -}}
{{- if eq .Values.webhook.certificates.mode "secret" -}}
{{- required "webhook.certificates.secretName: name the Secret with tls.crt and tls.key" .Values.webhook.certificates.secretName -}}
{{- else -}}
{{ include "kritis.name" . }}-webhook-certificate
{{- end -}}
{{- end -}}

{{/* What both webhooks have. Call with (dict "root" $ "path" "/…"). */}}
{{- define "kritis.hook" -}}
admissionReviewVersions: [v1]
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
failurePolicy: {{ include "kritis.failurePolicy" .root }}
timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
clientConfig:
  service:
    namespace: {{ .root.Release.Namespace }}
    name: {{ include "kritis.name" .root }}-webhook
    path: {{ .path }}
    port: 443
  {{- if eq .root.Values.webhook.certificates.mode "secret" }}
  caBundle: {{ required "webhook.certificates.caBundle: give the PEM text of the certificate's authority" .root.Values.webhook.certificates.caBundle | b64enc }}
  {{- end }}
# Never in the way of what the cluster needs to live, nor of the webhook itself.
namespaceSelector:
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ include "kritis.exemptNamespaces" .root }}
{{- end -}}
