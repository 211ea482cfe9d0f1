{{/*
The plugin as a service of the host. This container puts the program and its unit onto the host, starts it through systemd's
socket, and looks after it; what decides is not in this pod. It is root, because these folders and that socket are root's, and
has no capability. When it ends it asks the API server whether this DaemonSet still wants the service; only if not it removes it.
*/}}
{{- define "kritis.plugin.host" -}}
- name: plugin-install
  image: {{ include "kritis.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
  - install
  - host
  - --log-level={{ .Values.logLevel }}
  - --in-cluster
  - --namespace={{ .Release.Namespace }}
  - --daemonset={{ include "kritis.name" . }}-node
  - --listen=:{{ .Values.plugin.install.port }}
  - --bin-dir={{ .Values.plugin.install.binDir }}
  - --unit-dir={{ .Values.plugin.install.unitDir }}
  - --runtime-unit-dir={{ .Values.plugin.install.runtimeUnitDir }}
  - --systemd-socket={{ .Values.plugin.install.systemdSocket }}
  - --plugin-socket={{ .Values.hostPaths.run }}/plugin.sock
  - --plugin-audit-log={{ .Values.hostPaths.log }}/decisions.jsonl
  - --containerd-config={{ .Values.hostPaths.containerdConfig }}
  - --containerd-unit={{ .Values.plugin.install.containerdUnit }}
  - --
  - --log-level={{ .Values.logLevel }}
  - --state-dir={{ .Values.hostPaths.state }}
  - --floor={{ .Values.hostPaths.config }}/floor.yaml
  - --agent-socket={{ .Values.hostPaths.run }}/agent.sock
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
  - --bootstrap-exempt={{ .Release.Namespace }}
  {{- range .Values.plugin.snapshotters }}
  - --snapshotter={{ . }}
  {{- end }}
  {{- range .Values.plugin.extraArgs }}
  - {{ . | quote }}
  {{- end }}
  ports:
  - {name: install, containerPort: {{ .Values.plugin.install.port }}}
  readinessProbe:
    httpGet: {path: /readyz, port: install}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /healthz, port: install}
    initialDelaySeconds: 10
    periodSeconds: 30
    timeoutSeconds: 5
  securityContext:
    {{- include "kritis.unprivileged" . | nindent 4 }}
  resources:
    {{- toYaml .Values.plugin.install.resources | nindent 4 }}
  volumeMounts:
  - {name: run, mountPath: {{ .Values.hostPaths.run | quote }}}
  - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
  - {name: programs, mountPath: {{ .Values.plugin.install.binDir | quote }}}
  - {name: units, mountPath: {{ .Values.plugin.install.unitDir | quote }}}
  - {name: runtime-units, mountPath: {{ .Values.plugin.install.runtimeUnitDir | quote }}}
  - {name: systemd, mountPath: {{ dir .Values.plugin.install.systemdSocket | quote }}, readOnly: true}
  # To undo, before the service is removed, what `kritis install --require` wrote there.
  - {name: containerd-config, mountPath: {{ dir .Values.hostPaths.containerdConfig | quote }}}
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "kritis.plugin.host.volumes" -}}
- name: programs
  hostPath: {path: {{ .Values.plugin.install.binDir | quote }}, type: DirectoryOrCreate}
- name: units
  hostPath: {path: {{ .Values.plugin.install.unitDir | quote }}, type: Directory}
- name: runtime-units
  hostPath: {path: {{ .Values.plugin.install.runtimeUnitDir | quote }}, type: DirectoryOrCreate}
# The folder, because systemd makes its socket anew when it executes itself again.
- name: systemd
  hostPath: {path: {{ dir .Values.plugin.install.systemdSocket | quote }}, type: Directory}
- name: containerd-config
  hostPath: {path: {{ dir .Values.hostPaths.containerdConfig | quote }}, type: DirectoryOrCreate}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end -}}
