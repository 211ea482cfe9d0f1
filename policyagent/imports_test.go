package policyagent

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What each package may import beyond the standard library. The plugin imports nodestate, so what nodestate imports
// runs as root in the create call of every container.
func TestImports(t *testing.T) {
	const us = "github.com/kritis-node/kritis-node/"
	allowed := map[string][]string{
		"nodestate":             {us + "verifier", us + "policyagent/nodestate/durable"},
		"nodestate/durable":     {},
		"api/v1beta1":           {us + "verifier", us + "policyagent/attestations/statement", "k8s.io/apimachinery/pkg"},
		"policydir":             {us + "verifier", us + "policyagent/api/v1beta1", "k8s.io/apimachinery/pkg/apis/meta/v1", "go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"},
		"attestations":          {us + "verifier"},
		"attestations/folder":   {us + "verifier", us + "policyagent/attestations", us + "policyagent/attestations/statement"},
		"attestations/registry": {us + "verifier", us + "policyagent/attestations", "github.com/google/go-containerregistry", "sigs.k8s.io/yaml"},
		// The SDK is a client of every service of its cloud; only what signs a request is used.
		"alicloud": {"github.com/aliyun/alibaba-cloud-sdk-go/sdk", "github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials",
			"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests", "golang.org/x/time/rate", "sigs.k8s.io/yaml"},
		".": {us + "verifier", us + "policyagent/attestations", us + "policyagent/nodestate", us + "policyagent/nodereport", "golang.org/x/sync/errgroup",
			"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_model/go", "github.com/prometheus/common/expfmt", "github.com/prometheus/common/model",
			"golang.org/x/net/netutil"},
		// Neither controller-runtime nor k8s.io/api: they would be in the memory of every agent, and of every plugin.
		"kube": {us + "verifier", us + "policyagent", us + "policyagent/attestations", us + "policyagent/nodestate", us + "policyagent/nodereport", us + "policyagent/api/v1beta1", us + "policyagent/attestations", us + "policyagent/attestations/statement", "github.com/hashicorp/golang-lru/v2", "k8s.io/apimachinery/pkg",
			"k8s.io/client-go/rest", "k8s.io/client-go/tools/cache", "k8s.io/client-go/tools/clientcmd", "k8s.io/klog/v2", "github.com/go-logr/logr",
			"sigs.k8s.io/json", "github.com/prometheus/client_golang/prometheus"},
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		rules, ok := allowed[dir]
		if !ok {
			return nil // somebody else's folder, who asserts it there
		}
		seen[dir] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(name, "/")
			if strings.Contains(first, ".") && !slices.ContainsFunc(rules, func(r string) bool { return name == r || strings.HasPrefix(name, r+"/") && !strings.HasPrefix(r, us) }) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(allowed) {
		t.Errorf("looked at %v only", seen)
	}
}
