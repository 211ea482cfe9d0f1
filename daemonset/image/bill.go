package image

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// BillType is the media type of a bill of materials, and the type of the artifact that holds it in a registry.
const BillType = "application/vnd.cyclonedx+json"

// Bill returns what is in an image, as CycloneDX 1.6: the programs of each architecture with their hashes, and the modules
// that each says it was linked from. Nobody has to believe the list: it is that of `go version -m`. roots is [RootsModule].
// The same programs give the same bytes.
func Bill(info Info, roots *debug.Module, programs map[string][]string) ([]byte, error) {
	product := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeContainer, BOMRef: "image", Name: "kritis-node", Version: info.Version,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
	}
	b := bill{modules: map[string]cyclonedx.Component{}}
	for architecture, files := range programs {
		for _, file := range files {
			if err := b.add(info, architecture, file); err != nil {
				return nil, fmt.Errorf("listing what is in the image: %w", err)
			}
		}
	}
	authorities, err := module(roots)
	if err != nil {
		return nil, fmt.Errorf("listing what is in the image: %w", err)
	}
	authorities.Type, authorities.Properties = cyclonedx.ComponentTypeData, &[]cyclonedx.Property{{Name: "path", Value: "/" + rootsFile}}
	b.parts = append(b.parts, b.module(authorities))

	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: info.created().Format(time.RFC3339), Component: &product}
	components := slices.Concat(b.programs, sorted(b.modules))
	bom.Components = &components
	top := cyclonedx.Dependency{Ref: product.BOMRef, Dependencies: &b.parts}
	slices.Sort(b.parts)
	slices.SortFunc(b.needs, func(x, y cyclonedx.Dependency) int { return strings.Compare(x.Ref, y.Ref) })
	needs := append([]cyclonedx.Dependency{top}, b.needs...)
	bom.Dependencies = &needs

	var encoded bytes.Buffer
	err = cyclonedx.NewBOMEncoder(&encoded, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
	if err != nil {
		return nil, fmt.Errorf("listing what is in the image: %w", err)
	}
	return encoded.Bytes(), nil
}

// bill is a bill of materials that is being made.
type bill struct {
	programs []cyclonedx.Component
	modules  map[string]cyclonedx.Component // by reference
	needs    []cyclonedx.Dependency
	parts    []string // references of what is in the image itself
}

// add adds a program and the modules that it says it is made of.
func (b *bill) add(info Info, architecture, file string) error {
	built, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	program := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeApplication, BOMRef: name + "/linux/" + architecture, Name: name, Version: info.Version,
		Hashes:     sum(sha256.Sum256(content)),
		Properties: &[]cyclonedx.Property{{Name: "path", Value: "/" + programFolder + "/" + name}, {Name: "platform", Value: "linux/" + architecture}},
	}
	refs := []string{b.module(standardLibrary(built.GoVersion))}
	for _, dep := range built.Deps {
		component, err := module(dep)
		if err != nil {
			return err
		}
		refs = append(refs, b.module(component))
	}
	slices.Sort(refs)
	b.programs = append(b.programs, program)
	slices.SortFunc(b.programs, byRef)
	b.needs = append(b.needs, cyclonedx.Dependency{Ref: program.BOMRef, Dependencies: &refs})
	b.parts = append(b.parts, program.BOMRef)
	return nil
}

func (b *bill) module(component cyclonedx.Component) string {
	b.modules[component.BOMRef] = component
	return component.BOMRef
}

// standardLibrary is Go's, under the name by which vulnerability databases know it.
func standardLibrary(version string) cyclonedx.Component {
	number, _, _ := strings.Cut(strings.TrimPrefix(version, "go"), " ")
	purl := "pkg:golang/stdlib@" + number
	return cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, BOMRef: purl, PackageURL: purl, Name: "stdlib", Version: number}
}

// module describes one that the linker noted. Its hash is that of go.sum, of which the sum database of Go keeps a copy.
func module(m *debug.Module) (cyclonedx.Component, error) {
	if m.Replace != nil {
		m = m.Replace
	}
	component := cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version}
	component.PackageURL = "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	component.BOMRef = component.PackageURL
	encoded, ok := strings.CutPrefix(m.Sum, "h1:")
	hash, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(hash) != sha256.Size {
		return cyclonedx.Component{}, fmt.Errorf("module %s %s has no checksum: build without a replacement by a folder and without vendoring", m.Path, m.Version)
	}
	component.Hashes = sum([sha256.Size]byte(hash))
	return component, nil
}

// RootsModule is the module that [Roots] come from, as it is linked into this program. Test programs do not know it.
func RootsModule() (*debug.Module, error) {
	own, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this program does not know what it was built from")
	}
	for _, dep := range own.Deps {
		if dep.Path == "golang.org/x/crypto/x509roots/fallback" {
			return dep, nil
		}
	}
	return nil, errors.New("this program does not know the version of its root certificates: build it with go build or go run")
}

func sum(hash [sha256.Size]byte) *[]cyclonedx.Hash {
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(hash[:])}}
}

func byRef(x, y cyclonedx.Component) int { return strings.Compare(x.BOMRef, y.BOMRef) }

func sorted(components map[string]cyclonedx.Component) []cyclonedx.Component {
	var all []cyclonedx.Component
	for _, c := range components {
		all = append(all, c)
	}
	slices.SortFunc(all, byRef)
	return all
}
