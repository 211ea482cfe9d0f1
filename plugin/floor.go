package plugin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/verifier"
)

// maxFloorSize bounds the floor file in bytes.
const maxFloorSize = 1 << 20

// floorFile is the YAML of /etc/kritis/floor.yaml. See docs/floor.md.
type floorFile struct {
	Version     int `json:"version"`
	Authorities []struct {
		Name            string             `json:"name"`
		PublicKeys      []verifier.KeySpec `json:"publicKeys"`
		RepositoryBound bool               `json:"repositoryBound"`
	} `json:"authorities"`
	Policies []struct {
		Name        string   `json:"name"`
		Namespaces  []string `json:"namespaces"`
		Authorities []string `json:"authorities"`
		Allow       []string `json:"allow"`
		TagPolicy   string   `json:"tagPolicy"`
		DryRun      bool     `json:"dryRun"`
	} `json:"policies"`
	Allowlist []struct {
		Pattern   string    `json:"pattern"`
		Namespace string    `json:"namespace"`
		Expires   time.Time `json:"expires"`
		Reason    string    `json:"reason"`
	} `json:"allowlist"`
	NamespacesWithoutPolicy string    `json:"namespacesWithoutPolicy"`
	BootstrapExempt         *[]string `json:"bootstrapExempt"`
	RuntimeHandlers         []string  `json:"runtimeHandlers"`
	Cluster                 struct {
		DryRun     string `json:"dryRun"`
		Allowlists string `json:"allowlists"`
	} `json:"cluster"`
}

// LoadFloor reads the floor file. One that does not exist is the default floor, whose text is empty. The text is
// returned so that a change can be told. Where the file does not say which namespaces are exempt while bootstrapping, it is
// kube-system and those of exempt, which may be patterns.
func LoadFloor(path string, exempt ...string) (*verifier.Floor, string, error) {
	exempt = append([]string{"kube-system"}, exempt...)
	data, err := readFloor(path)
	if errors.Is(err, fs.ErrNotExist) {
		floor, err := verifier.CompileFloor(verifier.FloorSpec{BootstrapExempt: exempt})
		return floor, "", err
	}
	if err != nil {
		return nil, "", fmt.Errorf("floor file: %w", err)
	}
	spec, err := parseFloor(data, exempt)
	if err != nil {
		return nil, "", fmt.Errorf("floor file %s: %w; nothing is loosened meanwhile: correct the file, it is read again at once", path, err)
	}
	floor, err := verifier.CompileFloor(spec)
	if err != nil {
		return nil, "", fmt.Errorf("floor file %s: %w; nothing is loosened meanwhile: correct the file, it is read again at once", path, err)
	}
	return floor, string(data), nil
}

func readFloor(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s can be written by others than root: run chown root and chmod 0644 on it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFloorSize+1))
	if err == nil && len(data) > maxFloorSize {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFloorSize)
	}
	return data, err
}

// parseFloor turns the file into the verifier's terms. Unknown fields and values are errors: a misspelt minimum
// would be no minimum. Exempt is what bootstrapExempt is if the file does not say.
func parseFloor(data []byte, exempt []string) (verifier.FloorSpec, error) {
	var f floorFile
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return verifier.FloorSpec{}, err
	}
	if f.Version != 1 {
		return verifier.FloorSpec{}, fmt.Errorf("version: is %d, this plugin reads version 1", f.Version)
	}
	spec := verifier.FloorSpec{BootstrapExempt: exempt, RuntimeHandlers: f.RuntimeHandlers}
	if f.BootstrapExempt != nil {
		spec.BootstrapExempt = *f.BootstrapExempt
	}
	var errs []error
	choice := func(field, value, off, on string) bool {
		if value != "" && value != off && value != on {
			errs = append(errs, fmt.Errorf("%s: is %q, must be %s or %s", field, value, off, on))
		}
		return value == on
	}
	spec.DenyWithoutPolicy = choice("namespacesWithoutPolicy", f.NamespacesWithoutPolicy, "Allow", "Deny")
	spec.IgnoreClusterDryRun = choice("cluster.dryRun", f.Cluster.DryRun, "Honor", "Ignore")
	spec.IgnoreClusterAllowlists = choice("cluster.allowlists", f.Cluster.Allowlists, "Honor", "Ignore")
	for _, a := range f.Authorities {
		spec.Authorities = append(spec.Authorities, verifier.AuthoritySpec{Name: a.Name, Keys: a.PublicKeys, RepositoryBound: a.RepositoryBound})
	}
	for i, p := range f.Policies {
		if len(p.Namespaces) == 0 {
			errs = append(errs, fmt.Errorf(`policies[%d].namespaces: is empty; name namespaces, or "*" for all`, i))
		}
		for _, ns := range p.Namespaces {
			spec.Policies = append(spec.Policies, verifier.PolicySpec{
				Namespace: ns, Name: p.Name, AuthorityNames: p.Authorities, Allow: p.Allow, TagPolicy: p.TagPolicy, DryRun: p.DryRun,
			})
		}
	}
	for _, a := range f.Allowlist {
		spec.Allowlist = append(spec.Allowlist, verifier.AllowSpec{List: "floor", Pattern: a.Pattern, Namespace: a.Namespace, Expires: a.Expires, Reason: a.Reason})
	}
	return spec, errors.Join(errs...)
}
