package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
)

// Registry is a registry process, on loopback unless told otherwise. Its methods may be called from any goroutine, those that start and stop
// it one at a time.
type Registry struct {
	command Command
	// setAddress makes the command listen on an address.
	setAddress func(*Command, string)
	host       string
	login      *Login
	ca         []byte // PEM; nil: plain HTTP
	process    *Process
}

// listening matches what both registries log once they listen, and where.
var listening = regexp.MustCompile(`listening on ([0-9.]+:[0-9]+)`)

// Start starts the registry again after [Registry.Stop], under the same host and port. What a distribution registry
// held is still there, what a referrers registry held is not.
func (r *Registry) Start(ctx context.Context) error {
	r.setAddress(&r.command, r.host)
	process, err := StartProcess(ctx, r.command, func(ctx context.Context) error {
		log, err := os.ReadFile(r.command.Log)
		if err != nil {
			return err
		}
		found := listening.FindAllSubmatch(log, -1)
		if found == nil {
			return errors.New("it does not listen")
		}
		host := string(found[len(found)-1][1])
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err != nil {
			return err
		}
		r.host = host
		return connection.Close()
	})
	if err != nil {
		return fmt.Errorf("starting a registry: %w", err)
	}
	r.process = process
	return nil
}

// Host is the registry's name in references: its address, 127.0.0.1 unless it was told another, and a port.
func (r *Registry) Host() string { return r.host }

// Login is what the registry asks for; empty if it asks for nothing.
func (r *Registry) Login() Login {
	if r.login == nil {
		return Login{}
	}
	return *r.login
}

// CA is the certificate authority of a registry that speaks TLS, in PEM; nil: plain HTTP.
func (r *Registry) CA() []byte { return r.ca }

// Process is the running process, or the last one.
func (r *Registry) Process() *Process { return r.process }

// Pause makes the registry hang: connections are accepted, nothing is answered.
func (r *Registry) Pause(ctx context.Context) error { return r.process.Pause(ctx) }

// Resume lets a paused registry go on.
func (r *Registry) Resume() error { return r.process.Resume() }

// Stop ends the registry: connections are refused.
func (r *Registry) Stop(ctx context.Context) error { return r.process.Stop(ctx) }

// Logs returns what the registry logged.
func (r *Registry) Logs() string {
	log, err := os.ReadFile(r.command.Log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// Request is a request that the registry answered.
type Request struct {
	Method, Path string
	Status       int
}

// accessLine matches a line of the common log format, which both registries write.
var accessLine = regexp.MustCompile(`"([A-Z]+) (/\S*) HTTP/[0-9.]+" ([0-9]{3}) `)

// Requests returns the requests answered so far, in order.
func (r *Registry) Requests() []Request {
	var requests []Request
	for _, match := range accessLine.FindAllStringSubmatch(r.Logs(), -1) {
		status, _ := strconv.Atoi(match[3]) // three digits
		requests = append(requests, Request{Method: match[1], Path: match[2], Status: status})
	}
	return requests
}
