package alicloudtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Emulator is a running emulator. Its methods may be called from any goroutine.
type Emulator struct {
	options   Options
	authority *authority
	dir       string // removed by Close, unless the caller named it
	caFile    string
	now       func() time.Time

	services, metadata, registry *listener
	backend                      *http.Transport // to the plain registry; nil: there is none
	stopped                      chan struct{}   // closed by Close: what hangs or waits ends
	background                   sync.WaitGroup
	closing                      sync.Once

	mu sync.Mutex // guards all below
	identities
	keys        map[string]*key // by region and ID, see keyPlace
	kmsAsked    map[string][]time.Time
	nonces      map[string]time.Time
	witnesses   []Witness
	policies    []Policy
	spelling    Spelling
	instances   []*instance
	rules       []SignatureRule
	signedWrong []string
	faults      []*Fault
	lastFault   int
	counted     map[Call]int
	metaTokens  map[string]time.Time
	metaRole    string
	metaGiven   map[string]Credentials
}

// listener is one HTTP server.
type listener struct {
	address string
	server  *http.Server
	active  sync.WaitGroup
}

// Start starts an emulator; Close ends it.
func Start(options Options) (*Emulator, error) {
	options = options.withDefaults()
	e := &Emulator{
		options: options, now: options.Now, stopped: make(chan struct{}), spelling: options.Spelling, metaRole: options.MetadataRole,
		identities: newIdentities(), keys: map[string]*key{}, kmsAsked: map[string][]time.Time{}, nonces: map[string]time.Time{},
		counted: map[Call]int{}, metaTokens: map[string]time.Time{}, metaGiven: map[string]Credentials{},
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the emulator: %w", err), e.Close())
	}
	return e, nil
}

func (e *Emulator) start() error {
	listening, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", e.options.Address)
	if err != nil {
		return err
	}
	hosts := append([]string{"localhost", "127.0.0.1", listening.Addr().(*net.TCPAddr).IP.String()}, e.options.Hosts...)
	if host, _, err := net.SplitHostPort(e.options.RegistryAddress); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	if e.authority, err = newAuthority(hosts); err != nil {
		return errors.Join(err, listening.Close())
	}
	if err := e.writeAuthority(); err != nil {
		return errors.Join(err, listening.Close())
	}
	e.services = e.serve(tls.NewListener(listening, e.authority.config()), http.HandlerFunc(e.serveServices))

	if listening, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", e.options.MetadataAddress); err != nil {
		return err
	}
	e.metadata = e.serve(listening, http.HandlerFunc(e.serveMetadata))

	if e.options.Registry == "" {
		return nil
	}
	handler, err := e.newRegistryFront()
	if err != nil {
		return err
	}
	if listening, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", e.options.RegistryAddress); err != nil {
		return err
	}
	if e.options.RegistryTLS {
		listening = tls.NewListener(listening, e.authority.config())
	}
	e.registry = e.serve(listening, handler)
	return nil
}

func (e *Emulator) writeAuthority() (err error) {
	folder := e.options.Dir
	if folder == "" {
		if folder, err = os.MkdirTemp("", "kritis-alicloud-emulator-"); err != nil {
			return err
		}
		e.dir = folder
	}
	e.caFile = filepath.Join(folder, "ca.pem")
	return os.WriteFile(e.caFile, e.authority.pem, 0o644)
}

func (e *Emulator) serve(listening net.Listener, handler http.Handler) *listener {
	l := &listener{address: listening.Addr().String()}
	l.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 20,
		ErrorLog: log.New(io.Discard, "", 0), // clients that do not trust us are no news
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.active.Add(1)
			defer l.active.Done()
			handler.ServeHTTP(w, r)
		}),
	}
	e.background.Go(func() { _ = l.server.Serve(listening) })
	return l
}

// Close ends all listeners, what hangs in them, and signatures that are still to come.
func (e *Emulator) Close() error {
	var errs []error
	e.closing.Do(func() {
		close(e.stopped)
		for _, l := range []*listener{e.services, e.metadata, e.registry} {
			if l != nil {
				errs = append(errs, l.server.Close())
				l.active.Wait()
			}
		}
		e.background.Wait()
		if e.backend != nil {
			e.backend.CloseIdleConnections()
		}
		if e.dir != "" {
			errs = append(errs, os.RemoveAll(e.dir))
		}
	})
	return errors.Join(errs...)
}

// Host is the address of all four services, host and port: https://Host().
func (e *Emulator) Host() string { return e.services.address }

// CA is the certificate authority in PEM.
func (e *Emulator) CA() []byte { return e.authority.pem }

// CAFile is a file that holds it.
func (e *Emulator) CAFile() string { return e.caFile }

// MetadataURL is where the metadata of an instance are, such as http://127.0.0.1:1234.
func (e *Emulator) MetadataURL() string { return "http://" + e.metadata.address }

// RegistryHost is the address of the registry of the instances, host and port; empty: there is none.
func (e *Emulator) RegistryHost() string {
	if e.registry == nil {
		return ""
	}
	return e.registry.address
}

// Account is the account's number.
func (e *Emulator) Account() string { return e.options.Account }

// Region is the region of what names none.
func (e *Emulator) Region() string { return e.options.Region }
