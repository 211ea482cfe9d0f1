package operation

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/kritis-node/kritis-node/test/site"
)

// webhooksDeny says whether each webhook by itself denies a pod of the unsigned image. Through the API server one cannot tell: it
// keeps its connection to one of them.
func (o *operation) webhooksDeny(ctx context.Context, namespace string) error {
	addresses, err := o.KubectlOutput(ctx, "--namespace", site.Namespace, "get", "pods", "--selector=app.kubernetes.io/component=webhook",
		"--field-selector=status.phase=Running", "--output=jsonpath={.items[*].status.podIP}")
	if err != nil {
		return err
	}
	if len(strings.Fields(addresses)) < 2 {
		return fmt.Errorf("webhooks are at %q", addresses)
	}
	review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},
"resource":{"group":"","version":"v1","resource":"pods"},"name":"probe","namespace":%[1]q,"operation":"CREATE","dryRun":true,"userInfo":{"username":"probe"},
"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe","namespace":%[1]q},"spec":{"containers":[{"name":"main","image":%[2]q}]}}}}`, namespace, o.unsigned)
	// Who answers is known by where: the certificate is for the Service's name.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for address := range strings.FieldsSeq(addresses) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+":8443/pods", bytes.NewBufferString(review))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		var answer struct {
			Response *struct {
				Allowed bool `json:"allowed"`
			} `json:"response"`
		}
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&answer), resp.Body.Close())
		if err != nil || answer.Response == nil || answer.Response.Allowed {
			return fmt.Errorf("%s answers %s: %+v: %w", address, resp.Status, answer.Response, err)
		}
	}
	return nil
}
