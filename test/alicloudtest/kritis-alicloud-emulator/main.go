// Command kritis-alicloud-emulator is package alicloudtest as a program, so that anybody can try the product without an account at
// Alibaba Cloud. It prints what it made and how to reach it, and ends with SIGINT or SIGTERM.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(os.Stdout).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kritis-alicloud-emulator: %v\n", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	options   alicloudtest.Options
	stateFile string
}

// inMemory is what --registry takes instead of a URL.
const inMemory = "memory"

func command(out io.Writer) *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "kritis-alicloud-emulator",
		Short: "Emulates the parts of Alibaba Cloud that kritis-node talks to",
		Args:  cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), s, out) },
	}
	o := &s.options
	f := c.Flags()
	f.StringVar(&o.Address, "listen", "127.0.0.1:0", "address of the services (TLS)")
	f.StringVar(&o.MetadataAddress, "metadata-listen", "127.0.0.1:0", "address of the instance metadata (HTTP)")
	f.StringVar(&o.RegistryAddress, "registry-listen", "127.0.0.1:0", "address of the instances' registry")
	f.StringVar(&o.Registry, "registry", inMemory, "URL of a plain registry that holds the images, or \"memory\"")
	f.BoolVar(&o.RegistryTLS, "registry-tls", false, "the registry speaks TLS")
	f.StringArrayVar(&o.Hosts, "host", nil, "further name or IP address that the certificate is valid for; may be repeated")
	f.StringVar(&o.Dir, "dir", "", "folder for ca.pem, alicloud.yaml, environment; default: a temporary one, removed at the end")
	f.StringVar(&o.Region, "region", "cn-hangzhou", "region of what names none")
	f.DurationVar(&o.CredentialLife, "credential-life", 0, "life of credentials of STS and metadata; default: an hour")
	f.BoolVar(&o.UnhardenedMetadata, "unhardened-metadata", false, "the metadata answer without a token")
	f.StringVar(&s.stateFile, "state", "", "YAML file with what is there at the start; default: a small example")
	return c
}

// run starts everything, says so on out, and waits for ctx.
func run(ctx context.Context, s settings, out io.Writer) (err error) {
	begin := alicloudtest.Example()
	if s.stateFile != "" {
		data, err := os.ReadFile(s.stateFile)
		if err != nil {
			return err
		}
		if begin, err = alicloudtest.ReadState(data); err != nil {
			return fmt.Errorf("%s: %w", s.stateFile, err)
		}
	}
	if s.options.Dir != "" {
		if err := os.MkdirAll(s.options.Dir, 0o755); err != nil {
			return err
		}
	}
	if s.options.Registry == inMemory {
		address, stop, err := startRegistry()
		if err != nil {
			return err
		}
		defer stop()
		s.options.Registry = "http://" + address
	}
	e, err := alicloudtest.Start(s.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	done, err := e.Apply(begin)
	if err != nil {
		return err
	}
	if err := describe(e, done, out); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// startRegistry starts a registry in memory.
func startRegistry() (address string, stop func(), err error) {
	listening, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{
		Handler:           registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: time.Minute,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listening)
	}()
	return listening.Addr().String(), func() {
		_ = server.Close()
		<-ended
	}, nil
}

// describe writes the files that a shell wants next to the certificate authority, and tells about everything.
func describe(e *alicloudtest.Emulator, done alicloudtest.Applied, out io.Writer) error {
	folder := filepath.Dir(e.CAFile())
	variables := []string{"EMULATOR=" + e.Host(), "EMULATOR_CA=" + e.CAFile(), "EMULATOR_REGISTRY=" + e.RegistryHost(), "EMULATOR_METADATA=" + e.MetadataURL()}
	if len(done.Users) > 0 {
		variables = append(variables, done.Users[0].Environment()...)
	}
	text := ""
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		text += "export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'\n"
	}
	config, environment := filepath.Join(folder, "alicloud.yaml"), filepath.Join(folder, "environment")
	// Whoever owns the temporary folder reads them; Close removes that one and what is in it.
	if err := errors.Join(os.WriteFile(config, []byte(e.ClientConfig("AccessKey")), 0o644), os.WriteFile(environment, []byte(text), 0o600)); err != nil {
		return err
	}
	fmt.Fprintf(out, "services (TLS)  https://%s\nadministration  https://%s/_emulator/\nmetadata        %s\nregistry        %s\nauthority       %s\nconfiguration   %s\nenvironment     . %s\n",
		e.Host(), e.Host(), e.MetadataURL(), e.RegistryHost(), e.CAFile(), config, environment)
	for _, user := range done.Users {
		fmt.Fprintf(out, "user            %s, access key %s\n", user.Name, user.AccessKeyID)
	}
	for _, key := range done.Keys {
		fmt.Fprintf(out, "key             %s in %s, %s, %s\n", key.ID, key.Region, key.Spec, key.State)
	}
	for _, instance := range done.Instances {
		fmt.Fprintf(out, "instance        %s, %s, images under %s\n", instance.Name, instance.ID, strings.Join(instance.Hosts, ", "))
	}
	_, err := fmt.Fprintf(out, "\n%s\n%sready\n", e.ClientConfig("AccessKey"), text)
	return err
}
