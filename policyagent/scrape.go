package policyagent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// scrapeTimeout bounds a look at the plugin's metrics, maxScrape their size in bytes, maxSeries their number.
	scrapeTimeout = 2 * time.Second
	maxScrape     = 1 << 20
	maxSeries     = 5000

	pluginPrefix = "kritis_plugin_"
	pluginUp     = "kritis_policyagent_plugin_up"
	pluginUpHelp = "1 if the plugin's metrics could be read just now and are among these."
)

// pluginGatherer reads the plugin's metrics over its socket: it has no network, and so nobody else to serve them.
type pluginGatherer struct{ socket string }

// Gather implements prometheus.Gatherer. It returns no error: the agent's own metrics do not depend on the plugin.
func (g pluginGatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.scrape()
	up := 1.0
	if err != nil {
		families, up = nil, 0
	}
	name, help, kind := pluginUp, pluginUpHelp, dto.MetricType_GAUGE
	return append(families, &dto.MetricFamily{Name: &name, Help: &help, Type: &kind, Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: &up}}}}), nil
}

func (g pluginGatherer) scrape() ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", g.socket)
		},
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the plugin answers with status %d", resp.StatusCode)
	}
	body := &io.LimitedReader{R: resp.Body, N: maxScrape + 1}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, err
	}
	if body.N <= 0 {
		return nil, fmt.Errorf("the plugin's metrics have more than %d bytes", maxScrape)
	}
	var families []*dto.MetricFamily
	series := 0
	for name, f := range parsed {
		if series += len(f.GetMetric()); series > maxSeries {
			return nil, fmt.Errorf("the plugin has more than %d series", maxSeries)
		}
		if strings.HasPrefix(name, pluginPrefix) { // no other name is its to use
			families = append(families, f)
		}
	}
	return families, nil
}
