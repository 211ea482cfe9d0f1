{{/*
The plugin as a container: nothing on the host changes, and while it is absent containers start unchecked. It is root without
capabilities once it has given up the network, for which it needs these two: see plugin/isolate.go.
*/}}
{{- define "kritis.plugin.pod" -}}
- name: plugin
  image: {{ include "kritis.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
  - plugin
  - --placement=pod
  - --log-level={{ .Values.logLevel }}
  - --state-dir={{ .Values.hostPaths.state }}
  - --floor={{ .Values.hostPaths.config }}/floor.yaml
  - --agent-socket={{ .Values.hostPaths.run }}/agent.sock
  - --socket={{ .Values.hostPaths.run }}/plugin.sock
  - --audit-log={{ .Values.hostPaths.log }}/decisions.jsonl
  - --nri-socket={{ .Values.hostPaths.nriSocket }}
  - --containerd-socket={{ .Values.hostPaths.containerdSocket }}
  - --containerd-config={{ .Values.hostPaths.containerdConfig }}
  - --fetch-budget={{ .Values.plugin.fetchBudget }}
  {{- with .Values.plugin.recheck }}
  - --recheck-interval={{ .interval }}
  - --on-violation={{ .onViolation }}
  - --stop-grace-period={{ .stopGracePeriod }}
  - --stops-per-minute={{ .stopsPerMinute }}
  {{- range .neverStop }}
  - --never-stop={{ . }}
  {{- end }}
  {{- end }}
  - --never-stop={{ .Release.Namespace }}
  {{- range .Values.plugin.snapshotters }}
  - --snapshotter={{ . }}
  {{- end }}
  {{- range .Values.plugin.extraArgs }}
  - {{ . | quote }}
  {{- end }}
  # It has no network, so it is asked over its socket.
  readinessProbe:
    exec: {command: [/usr/bin/kritis, ready, --plugin-socket={{ .Values.hostPaths.run }}/plugin.sock]}
    periodSeconds: 20
    timeoutSeconds: 10
  livenessProbe:
    exec: {command: [/usr/bin/kritis, ready, --plugin-socket={{ .Values.hostPaths.run }}/plugin.sock]}
    initialDelaySeconds: 30
    periodSeconds: 60
    timeoutSeconds: 20
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    privileged: false
    capabilities:
      drop: [ALL]
      add: [SYS_ADMIN, SETPCAP]
  resources:
    {{- toYaml .Values.plugin.resources | nindent 4 }}
  volumeMounts:
  - {name: state, mountPath: {{ .Values.hostPaths.state | quote }}, readOnly: true}
  - {name: run, mountPath: {{ .Values.hostPaths.run | quote }}}
  - {name: log, mountPath: {{ .Values.hostPaths.log | quote }}}
  - {name: config, mountPath: {{ .Values.hostPaths.config | quote }}, readOnly: true}
  - {name: nri, mountPath: {{ dir .Values.hostPaths.nriSocket | quote }}, readOnly: true}
  - {name: containerd, mountPath: {{ dir .Values.hostPaths.containerdSocket | quote }}, readOnly: true, mountPropagation: {{ .Values.hostPaths.mountPropagation }}}
  {{- if ne (dir .Values.hostPaths.containerdConfig) (dir .Values.hostPaths.containerdSocket) }}
  - {name: containerd-config, mountPath: {{ dir .Values.hostPaths.containerdConfig | quote }}, readOnly: true}
  {{- end }}
{{- end -}}

{{- define "kritis.plugin.pod.volumes" -}}
- name: log
  hostPath: {path: {{ .Values.hostPaths.log | quote }}, type: DirectoryOrCreate}
- name: config
  hostPath: {path: {{ .Values.hostPaths.config | quote }}, type: DirectoryOrCreate}
# Folders, because a runtime that restarts makes its sockets anew.
- name: nri
  hostPath: {path: {{ dir .Values.hostPaths.nriSocket | quote }}, type: DirectoryOrCreate}
- name: containerd
  hostPath: {path: {{ dir .Values.hostPaths.containerdSocket | quote }}, type: Directory}
{{- if ne (dir .Values.hostPaths.containerdConfig) (dir .Values.hostPaths.containerdSocket) }}
- name: containerd-config
  hostPath: {path: {{ dir .Values.hostPaths.containerdConfig | quote }}, type: DirectoryOrCreate}
{{- end }}
{{- end -}}
