// Command makeimage makes the container image of the project, without a container engine: see `make image`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/daemonset/image"
)

type options struct {
	version, output, reference, push, roots string
	architectures, programs                 string
	plainHTTP                               bool
}

func main() {
	var o options
	flag.StringVar(&o.version, "version", "development", "version of the programs and of the image")
	flag.StringVar(&o.output, "output", "", "`file` for the image as a tar file in OCI layout")
	flag.StringVar(&o.reference, "reference", "", "name in that file; default: ghcr.io/kritis-node/kritis-node and the version as tag")
	flag.StringVar(&o.push, "push", "", "`reference` to push the image to, with the credentials of the Docker config")
	flag.BoolVar(&o.plainHTTP, "insecure-push", false, "push over plain HTTP")
	flag.StringVar(&o.architectures, "architectures", "amd64,arm64", "`list` of architectures")
	flag.StringVar(&o.programs, "programs", "", "`list` of programs to pack as they are, for one architecture; default: they are built from the module in the working folder")
	flag.StringVar(&o.roots, "roots", "", "write the root certificates to a `file`, and nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "makeimage: %v\n", err)
		os.Exit(1) //nolint:gocritic // the process ends, and with it what waits for a signal
	}
}

func run(ctx context.Context, o options) error {
	if o.roots != "" {
		roots, err := image.Roots()
		if err != nil {
			return err
		}
		return os.WriteFile(o.roots, roots, 0o644) //nolint:gosec // certificates are public
	}
	if o.output == "" && o.push == "" {
		return errors.New("nothing to do: name a file with -output, or a reference with -push")
	}
	if o.reference == "" {
		o.reference = "ghcr.io/kritis-node/kritis-node:" + strings.ReplaceAll(o.version, "+", "-")
	}
	if o.programs != "" && strings.Contains(o.architectures, ",") {
		return errors.New("-programs are of one architecture: name it with -architectures")
	}
	index, bill, err := build(ctx, o)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if o.output != "" {
		if err := write(o.output, o.reference, index); err != nil {
			return err
		}
		if err := os.WriteFile(billFile(o.output), bill, 0o644); err != nil { //nolint:gosec // for everybody to read
			return err
		}
	}
	if o.push != "" {
		if err := push(ctx, o, index, bill); err != nil {
			return err
		}
	}
	fmt.Println(digest)
	return nil
}

// billFile is where the bill of materials goes: "image.cdx.json" beside "image.tar".
func billFile(output string) string { return strings.TrimSuffix(output, ".tar") + ".cdx.json" }

// build makes the index of all architectures and the bill of what is in it, from the module in the working folder.
func build(ctx context.Context, o options) (v1.ImageIndex, []byte, error) {
	at, err := created(ctx)
	if err != nil {
		return nil, nil, err
	}
	info := image.Info{Version: o.version, Created: at}
	// Without a repository there is no revision to tell.
	info.Revision, _ = output(ctx, "git", "rev-parse", "HEAD")
	var images []v1.Image
	programs := map[string][]string{}
	for architecture := range strings.SplitSeq(o.architectures, ",") {
		if o.programs != "" {
			programs[architecture] = strings.Split(o.programs, ",")
		} else {
			folder, err := os.MkdirTemp("", "kritis-programs-")
			if err != nil {
				return nil, nil, err
			}
			defer os.RemoveAll(folder) // a few times at most
			if programs[architecture], err = compile(ctx, folder, architecture, o.version); err != nil {
				return nil, nil, err
			}
		}
		img, err := image.New(info, architecture, programs[architecture]...)
		if err != nil {
			return nil, nil, err
		}
		images = append(images, img)
	}
	roots, err := image.RootsModule()
	if err != nil {
		return nil, nil, err
	}
	bill, err := image.Bill(info, roots, programs)
	if err != nil {
		return nil, nil, err
	}
	index, err := image.Index(info, images...)
	return index, bill, err
}

// compile builds the programs of an architecture into a folder.
func compile(ctx context.Context, folder, architecture, version string) ([]string, error) {
	module, err := output(ctx, "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	return image.Compile(ctx, filepath.Dir(module), folder, architecture, version)
}

// created is SOURCE_DATE_EPOCH, or the time of the commit, or 1970: never now.
func created(ctx context.Context) (time.Time, error) {
	text, set := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !set {
		var err error
		if text, err = output(ctx, "git", "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, nil //nolint:nilerr // no repository, so nothing tells the time
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: give seconds since 1970", text)
	}
	return time.Unix(seconds, 0), nil
}

func output(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// write leaves a whole file, or none.
func write(path, reference string, index v1.ImageIndex) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	err = image.WriteArchive(f, index, reference)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// push pushes the image, and the bill of materials as its referrer.
func push(ctx context.Context, o options, index v1.ImageIndex, bill []byte) error {
	var rules []name.Option
	if o.plainHTTP {
		rules = append(rules, name.Insecure)
	}
	to, err := name.ParseReference(o.push, rules...)
	if err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if err := remote.WriteIndex(to, index, options...); err != nil {
		return fmt.Errorf("pushing %s: %w", o.push, err)
	}
	if err := image.AttachBill(to.Context(), index, bill, options...); err != nil {
		return fmt.Errorf("pushing %s: %w", o.push, err)
	}
	return nil
}
