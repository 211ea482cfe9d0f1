package alicloudtest_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/cr_ee"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

func TestOccurrencesByAPI(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	demo, err := e.AddInstance(alicloudtest.Instance{Name: "demo"})
	check(t, err)
	c := as(t, e, alice)
	for i := range 5 {
		check(t, e.AddOccurrence(demo.ID, alicloudtest.Occurrence{NoteName: "namespaces/n" + itoa(i%2), ResourceURI: "https://h/r@" + itoa(i), Payload: []byte("p"),
			Signatures: []alicloudtest.OccurrenceSignature{{KeyID: "key-1", Value: []byte("s")}}}))
	}
	list := func(pairs ...string) (uris []string, total int) {
		t.Helper()
		answer, err := do(t, c, request(e, crVersion, "ListMetadataOccurrences", append([]string{"InstanceId", demo.ID}, pairs...)...))
		check(t, err)
		var said struct {
			TotalCount  int
			Occurrences []struct {
				Resource    struct{ Uri string }
				Attestation struct {
					SerializedPayload []byte
					Signatures        []struct {
						PublicKeyId string
						Signature   []byte
					}
				}
			}
		}
		check(t, json.Unmarshal(answer.GetHttpContentBytes(), &said))
		for _, o := range said.Occurrences {
			uris = append(uris, o.Resource.Uri)
			if string(o.Attestation.SerializedPayload) != "p" || string(o.Attestation.Signatures[0].Signature) != "s" {
				t.Errorf("occurrence %+v", o)
			}
		}
		return uris, said.TotalCount
	}
	for _, test := range []struct {
		pairs []string
		uris  []string
		total int
	}{
		{[]string{"PageSize", "2", "PageNo", "3"}, []string{"https://h/r@4"}, 5},
		{[]string{"PageSize", "5", "PageNo", "2"}, nil, 5},
		{[]string{"NoteName", "namespaces/n1"}, []string{"https://h/r@1", "https://h/r@3"}, 2},
		{[]string{"ResourceUri", "https://h/r@3"}, []string{"https://h/r@3"}, 1},
		{[]string{"NoteName", "namespaces/n0", "ResourceUri", "https://h/r@3"}, nil, 0},
		{[]string{"Kind", "BUILD"}, nil, 0},
	} {
		if uris, total := list(test.pairs...); !slices.Equal(uris, test.uris) || total != test.total {
			t.Errorf("%v: %v, %d", test.pairs, uris, total)
		}
	}
	if n := e.Calls(alicloudtest.Call{Action: "ListMetadataOccurrences", ResourceURI: "https://h/r@3"}); n != 2 {
		t.Errorf("%d calls counted by URI", n)
	}
	_, err = do(t, c, request(e, crVersion, "ListMetadataOccurrences", "InstanceId", "cri-x"))
	expect(t, err, 404, "INSTANCE_NOT_EXIST")
}

func TestInstances(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	for i := range 3 {
		_, err := e.AddInstance(alicloudtest.Instance{Name: "i" + itoa(i), ID: "cri-" + itoa(i)})
		check(t, err)
	}
	_, err := e.AddInstance(alicloudtest.Instance{Name: "abroad", Region: "eu-central-1", ID: "cri-eu"})
	check(t, err)
	c := &cr_ee.Client{Client: *as(t, e, alice)}
	for region, want := range map[string]int{"cn-hangzhou": 3, "eu-central-1": 1, "cn-beijing": 0} {
		list := cr_ee.CreateListInstanceRequest()
		aim(e, list.RpcRequest)
		list.RegionId, list.QueryParams["RegionId"] = region, region
		got, err := c.ListInstance(list)
		check(t, err)
		if !got.ListInstanceIsSuccess || got.Code != "success" || got.TotalCount != want || len(got.Instances) != want {
			t.Errorf("%s: %+v", region, got)
		}
		for _, i := range got.Instances {
			if i.RegionId != region || i.InstanceStatus != "RUNNING" || i.InstanceName == "" {
				t.Errorf("%s: %+v", region, i)
			}
		}
	}
	_, err = do(t, as(t, e, alice), request(e, crVersion, "GetInstance", "InstanceId", "cri-eu"))
	expect(t, err, 404, "INSTANCE_NOT_EXIST")
	get := cr_ee.CreateGetInstanceRequest()
	aim(e, get.RpcRequest)
	get.InstanceId = "cri-1"
	got, err := c.GetInstance(get)
	check(t, err)
	if got.InstanceName != "i1" {
		t.Errorf("%+v", got)
	}
}
