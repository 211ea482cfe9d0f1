package cluster

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const (
	// pauseImage is imported, not pulled: a node needs no registry to start a pod.
	pauseImage = "kritis.test/pause:1"
	// cniPlugins is where Debian puts them.
	cniPlugins = "/usr/lib/cni"
	// criRuntime etc. are the keys of containerd's plugins in its configuration, version 3, which 2.x all read.
	criRuntime = "io.containerd.cri.v1.runtime"
	criImages  = "io.containerd.cri.v1.images"
	criServer  = "io.containerd.grpc.v1.cri"
	nriPlugin  = "io.containerd.nri.v1.nri"
	optPlugin  = "io.containerd.internal.v1.opt"
)

// needlessPlugins start something, complain or touch the host, and are not part of what is tested.
var needlessPlugins = []string{
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.tracing.processor.v1.otlp",
	"io.containerd.internal.v1.tracing",
	"io.containerd.internal.v1.restart",
}

// containerdConfig returns the content of config.toml. Everything that has a place on the host gets one in the node's
// folder.
func (n *Node) containerdConfig() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("version = 3")
	line("root = %q", n.path("root"))
	line("state = %q", n.path("state"))
	var imports []string
	if n.options.Machine != nil {
		imports = []string{filepath.Join(filepath.Dir(n.ConfigFile()), "conf.d", "*.toml")}
	}
	line("imports = %s", tomlList(imports))
	line("disabled_plugins = %s", tomlList(needlessPlugins))
	line("[grpc]\naddress = %q", n.ContainerdSocket())
	line("[ttrpc]\naddress = %q", n.ContainerdSocket()+".ttrpc")
	line("[debug]\nlevel = %q", n.options.LogLevel)

	line("[plugins.%q]\npath = %q", optPlugin, n.path("opt"))
	line("[plugins.%q]\ndisable_tcp_service = true", criServer)

	line("[plugins.%q]\nsnapshotter = \"overlayfs\"", criImages)
	line("[plugins.%q.pinned_images]\nsandbox = %q", criImages, pauseImage)
	line("[plugins.%q.registry]\nconfig_path = %q", criImages, n.path("hosts"))

	line("[plugins.%q]", criRuntime)
	// Without CAP_SYS_RESOURCE, as in many build environments, runc may not lower the score that kubelet asks for.
	line("restrict_oom_score_adj = true")
	line("cdi_spec_dirs = []")
	line("[plugins.%q.cni]\nbin_dirs = [%q]\nconf_dir = %q", criRuntime, cniPlugins, n.path("cni"))
	line("[plugins.%q.containerd]\ndefault_runtime_name = \"runc\"", criRuntime)
	for _, handler := range append([]string{"runc"}, n.options.RuntimeHandlers...) {
		line("[plugins.%q.containerd.runtimes.%q]", criRuntime, handler)
		line("runtime_type = \"io.containerd.runc.v2\"\nsandboxer = \"podsandbox\"")
		line("[plugins.%q.containerd.runtimes.%q.options]", criRuntime, handler)
		line("SystemdCgroup = false\nRoot = %q", n.path("runc"))
	}
	b.WriteString(n.nriConfig())
	b.WriteString(n.options.Config)
	return b.String()
}

func (n *Node) nriConfig() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("[plugins.%q]", nriPlugin)
	line("disable = %t", n.options.NRIDisabled)
	line("socket_path = %q", n.NRISocket())
	line("plugin_path = %q", n.NRIPluginDir())
	line("plugin_config_path = %q", n.path("nri", "conf.d"))
	duration := func(key string, value time.Duration) {
		if value != 0 {
			line("%s = %q", key, value)
		}
	}
	duration("plugin_registration_timeout", n.options.PluginRegistrationTimeout)
	duration("plugin_request_timeout", n.options.PluginRequestTimeout)
	line("[plugins.%q.default_validator]", nriPlugin)
	line("enable = %t", len(n.options.RequiredPlugins) > 0)
	line("required_plugins = %s", tomlList(n.options.RequiredPlugins))
	return b.String()
}

func (n *Node) path(elements ...string) string {
	return filepath.Join(append([]string{n.dir}, elements...)...)
}

// tomlList writes strings that hold no control characters; for them, TOML's quoting is Go's.
func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = fmt.Sprintf("%q", item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
