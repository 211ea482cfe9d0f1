package nodestate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	fetchPath  = "/v1/fetch"
	reportPath = "/v1/report"
)

// Client asks the policy agent to fetch. It may be used concurrently; it holds at most a few connections.
type Client struct {
	socket    string
	transport *http.Transport
}

// NewClient returns a client of the agent that listens on the socket. The agent need not run yet.
func NewClient(socketPath string) *Client {
	var dialer net.Dialer
	return &Client{
		socket: socketPath,
		transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socketPath)
			},
			// Callers beyond this wait for a connection until their context ends.
			MaxConnsPerHost:        32,
			MaxIdleConns:           4,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 8 << 10,
			DisableCompression:     true,
		},
	}
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Fetch returns when the records of all digests are written. An error means that the agent could not be asked, or
// did not answer before the context ended; what it began to fetch it goes on fetching.
func (c *Client) Fetch(ctx context.Context, r FetchRequest) (FetchResponse, error) {
	if err := r.validate(); err != nil {
		return FetchResponse{}, fmt.Errorf("asking the policy agent: %w", err)
	}
	var answer FetchResponse
	err := c.post(ctx, fetchPath, r, &answer)
	return answer, err
}

// Report tells the agent how the plugin does and what happened. An error means that it may not have arrived.
func (c *Client) Report(ctx context.Context, r Report) error {
	var answer reportResponse
	return c.post(ctx, reportPath, r.Bound(), &answer)
}

// post sends a message and reads its answer.
func (c *Client) post(ctx context.Context, path string, message, answer any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("asking the policy agent: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://policyagent"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the policy agent: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.explain(ctx, err)
	}
	return c.parseAnswer(resp.StatusCode, data, answer)
}

func (c *Client) parseAnswer(status int, data []byte, answer any) error {
	var refusal errorResponse
	switch {
	case len(data) > maxAnswer:
		return fmt.Errorf("the answer of the policy agent at %s has more than %d bytes: run the plugin and the agent of one version", c.socket, maxAnswer)
	case status == http.StatusOK && unmarshalStrict(data, answer) == nil:
		return nil
	case status != http.StatusOK && unmarshalStrict(data, &refusal) == nil:
		return fmt.Errorf("the policy agent at %s refused: %s", c.socket, clip(refusal.Error, MaxFailure))
	default:
		return fmt.Errorf("the policy agent at %s answered with status %d and something else than JSON of this version: run the plugin and the agent of one version", c.socket, status)
	}
}

func (c *Client) explain(ctx context.Context, err error) error {
	next := "see the log of kritis policyagent"
	switch {
	case ctx.Err() != nil:
		next = "the fetch goes on, ask again"
		err = context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		next = "the policy agent does not run; start it"
	case errors.Is(err, fs.ErrPermission):
		next = "only the socket's owner may ask; run as that user"
	}
	return fmt.Errorf("asking the policy agent at %s: %w; %s", c.socket, err, next)
}
