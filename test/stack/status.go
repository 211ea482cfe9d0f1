package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/kritis-node/kritis-node/plugin"
)

// maxAnswer bounds what is read from the plugin's socket, in bytes.
const maxAnswer = 8 << 20

// Status asks the plugin what `kritis status` shows.
func (s *Stack) Status(ctx context.Context) (plugin.Status, error) {
	var status plugin.Status
	data, err := s.AskPlugin(ctx, "/v1/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(data, &status)
}

// AskPlugin gets a path of the plugin's socket, such as "/metrics".
func (s *Stack) AskPlugin(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin"+path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.PluginSocket())
	}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking the plugin: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the plugin answered %s: %s", response.Status, data)
	}
	return data, err
}
