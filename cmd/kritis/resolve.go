package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/manifest"
	"github.com/kritis-node/kritis-node/verifier"
)

func newResolveCommand(p program) *cobra.Command {
	var reg registryFlags
	var keepTag, write bool
	cmd := &cobra.Command{
		Use:   "resolve [FILE...]",
		Short: "rewrite the tags in manifests to digests, and touch nothing else",
		Long: `Read Kubernetes manifests from files, or from standard input, and print them with every image that is named by tag
named by the digest that the tag has now. Comments, order, quotes and white space stay as they are. Images that are
named by digest stay, too.

If any image cannot be resolved, nothing is printed or written.`,
		Example: p.lines("resolve deployment.yaml | kubectl apply -f -", "resolve --write manifests/*.yaml"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if write && len(files) == 0 {
				return errors.New("--write needs files: name them")
			}
			reg.useDefaults()
			cfg, err := reg.config()
			if err != nil {
				return err
			}
			source, err := registry.New(cfg)
			if err != nil {
				return err
			}
			defer source.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Minute)
			defer cancel()
			r := resolver{ctx: ctx, source: source, keepTag: keepTag, known: map[string]string{}}
			results, err := r.all(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			return deliver(cmd.OutOrStdout(), files, results, write)
		},
	}
	cmd.Flags().BoolVar(&keepTag, "keep-tag", false, "name images by tag and digest, instead of digest alone")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the files instead of printing them")
	reg.addForUser(cmd.Flags())
	return cmd
}

// resolver asks the registry for each name once.
type resolver struct {
	ctx     context.Context
	source  *registry.Source
	keepTag bool
	known   map[string]string
}

// all rewrites every file, or standard input if there is none.
func (r resolver) all(in io.Reader, files []string) ([][]byte, error) {
	if len(files) == 0 {
		data, err := io.ReadAll(io.LimitReader(in, manifest.MaxSize+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		result, err := manifest.Rewrite(data, r.resolve)
		return [][]byte{result}, withFile("standard input", err)
	}
	var results [][]byte
	var errs []error
	for _, file := range files {
		data, err := readManifest(file)
		if err == nil {
			data, err = manifest.Rewrite(data, r.resolve)
		}
		results = append(results, data)
		errs = append(errs, withFile(file, err))
	}
	return results, errors.Join(errs...)
}

// withFile names the file in every line of an error.
func withFile(file string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(file + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+file+": "))
}

func readManifest(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
}

func (r resolver) resolve(image string) (string, error) {
	if known, ok := r.known[image]; ok {
		return known, nil
	}
	ref, err := verifier.ParseReference(image)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	if ref.Digest != "" {
		return image, nil
	}
	resolved, err := r.source.Resolve(r.ctx, ref)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	// As the author wrote it: "nginx" stays "nginx", not docker.io/library/nginx.
	name := image
	if !r.keepTag && ref.Tag != "" {
		name = strings.TrimSuffix(image, ":"+ref.Tag)
	}
	r.known[image] = name + "@" + string(resolved.Digest)
	return r.known[image], nil
}

// deliver prints the manifests, or replaces the files, each at once.
func deliver(out io.Writer, files []string, results [][]byte, write bool) error {
	if !write {
		var before []byte
		for i, result := range results {
			if i > 0 {
				if len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
					fmt.Fprintln(out)
				}
				fmt.Fprintln(out, "---")
			}
			before = result
			if _, err := out.Write(result); err != nil {
				return err
			}
		}
		return nil
	}
	for i, file := range files {
		if err := replaceFile(file, results[i]); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file so that it is whole at any moment.
func replaceFile(file string, data []byte) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".kritis-resolve-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(tmp.Name()))
	}
	return nil
}
