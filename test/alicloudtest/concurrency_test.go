package alicloudtest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// TestConcurrentUse is for the race detector: clients ask while the state changes.
func TestConcurrentUse(t *testing.T) {
	e, alice, demo := startRegistry(t, alicloudtest.Options{KMSQuota: -1}, alicloudtest.Instance{AnonymousPush: true})
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	required := []string{"builder"}
	e.PutWitness(alicloudtest.Witness{Name: "builder", KeyID: key.ID})
	check(t, e.AddSignatureRule(alicloudtest.SignatureRule{Instance: demo.ID, Witness: "builder"}))
	const rounds = 20
	asked := [][]string{
		{kmsVersion, "GetPublicKey", "KeyId", key.ID, "KeyVersionId", key.Versions[0].ID},
		{sasVersion, "DescribeAttestors"}, {sasVersion, "DescribeBinarySecurityPolicies"},
		{crVersion, "ListMetadataOccurrences", "InstanceId", demo.ID}, {crVersion, "GetAuthorizationToken", "InstanceId", demo.ID},
	}
	var group sync.WaitGroup
	for _, ask := range asked {
		c := as(t, e, alice) // the SDK's client is not for several goroutines
		group.Go(func() {
			for range rounds {
				if _, err := c.ProcessCommonRequest(request(e, ask[0], ask[1], ask[2:]...)); err != nil {
					t.Errorf("%s: %v", ask[1], err)
				}
			}
		})
	}
	group.Go(func() {
		for i := range rounds {
			e.PutPolicy(alicloudtest.Policy{Name: "p", Required: required})
			required[0] = "other" // the caller's own again
			e.PutWitness(alicloudtest.Witness{Name: "w" + itoa(i)})
			e.Spell(alicloudtest.Spelling{PolicyAsString: i%2 == 0})
			_ = e.CallList(alicloudtest.Call{})
			_ = e.Occurrences(demo.ID)
		}
	})
	for i := range 3 {
		push(t, e, fmt.Sprintf("%s/team/app:v%d", e.RegistryHost(), i))
	}
	group.Wait()
	if n := e.Calls(alicloudtest.Call{Status: 200, AccessKeyID: alice.AccessKeyID}); n != rounds*len(asked) {
		t.Errorf("%d calls counted, want %d", n, rounds*len(asked))
	}
	if n := len(e.Occurrences(demo.ID)); n != 3*4 {
		t.Errorf("%d occurrences", n)
	}
}

func TestFaultsOfRegistryAndMetadata(t *testing.T) {
	e, _, _ := startRegistry(t, alicloudtest.Options{MetadataRole: "node"}, alicloudtest.Instance{AnonymousPush: true})
	e.AddRole(alicloudtest.Role{Name: "node"})
	ref, _ := push(t, e, e.RegistryHost()+"/team/app:v1")
	repair, err := e.Break(alicloudtest.Fault{Service: "registry", Action: "HEAD", Kind: alicloudtest.Reset}) // not once: clients try again
	check(t, err)
	head := func() error {
		_, err := remote.Head(ref, remote.WithTransport(trusting(t, e)), remote.WithRetryBackoff(remote.Backoff{Steps: 1, Duration: time.Millisecond}))
		return err
	}
	if err := head(); err == nil {
		t.Error("the registry's fault did not strike")
	}
	repair()
	check(t, head())
	_, err = e.Break(alicloudtest.Fault{Service: "metadata", Action: "token", Kind: alicloudtest.Unavailable, Times: 1})
	check(t, err)
	for _, want := range []int{503, 200} {
		if status, _ := metadata(t, e, "PUT", "/latest/api/token", lifeHeader, "60"); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
}
