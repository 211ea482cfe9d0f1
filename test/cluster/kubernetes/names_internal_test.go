package kubernetes

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	n, err := serveNames([]string{"Acme.example.com"}, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, n.connection.LocalAddr().String())
	}}
	for name, want := range map[string][]string{"acme.example.com": {"127.0.0.1"}, "ACME.example.com.": {"127.0.0.1"}, "example.com": nil, "other.example.com": nil} {
		got, err := resolver.LookupHost(t.Context(), name)
		unknown, isDNS := errors.AsType[*net.DNSError](err)
		if !slices.Equal(got, want) || (want == nil) != (isDNS && unknown.IsNotFound) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
}
