package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// maxAnswer bounds what is read from the plugin's socket, in bytes.
const maxAnswer = 8 << 20

// askPlugin sends a request to the plugin's status socket and decodes the answer.
func askPlugin(ctx context.Context, socket, method, path string, question, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var body io.Reader
	if question != nil {
		data, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://plugin"+path, body)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the plugin does not run on this node: nothing answers at %s; start it with `kritis plugin`, name its socket with --socket, or name a cluster with --kubeconfig", socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s belongs to root: run this command as root", socket)
	case err != nil:
		return fmt.Errorf("ask the plugin at %s: %w", socket, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the plugin's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the plugin refused the question: %s", bytes.TrimSpace(data))
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read the plugin's answer: %w; are command and plugin of the same version?", err)
	}
	return nil
}
