{{/* The plugin as a service of the host, which a container of this pod installs and looks after. */}}
{{- define "kritis.plugin.host" -}}
{{- fail "plugin.placement host is not part of this version: set plugin.placement to pod, or install by hand as docs/node.md says" -}}
{{- end -}}

{{- define "kritis.plugin.host.volumes" -}}
{{- end -}}
