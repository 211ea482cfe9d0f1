package nodestate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kritis-node/kritis-node/verifier"
)

// Limits of messages on the socket. One more is refused.
const (
	// MaxDigests is the number of digests in one request: an image, its platform manifest, and those of a whole pod.
	MaxDigests = 64
	// MaxMessage is the size of a request in bytes.
	MaxMessage = 64 << 10
	// MaxFailures is the number of failures in an answer or a record, MaxFailure the length of one in bytes.
	MaxFailures = 32
	MaxFailure  = 1 << 10

	maxAnswer = 256 << 10
)

// FetchRequest asks the agent to fetch what is known about digests of a repository, and to write it down.
type FetchRequest struct {
	// Repository is normalised, as verifier.ParseReference returns it.
	Repository string            `json:"repository"`
	Digests    []verifier.Digest `json:"digests"`
	// Again says that what the records hold did not suffice: ask the sources even if the records are fresh. Without
	// it a record that has attestations is taken as the answer for minutes.
	Again bool `json:"again,omitempty"`
}

// FetchResponse says that the records are written.
type FetchResponse struct {
	// Failures are the sources that could not be asked. Empty means that the records are complete.
	Failures []string `json:"failures,omitempty"`
}

// reportResponse says that a report arrived.
type reportResponse struct{}

// errorResponse is the body of every answer that is not 200.
type errorResponse struct {
	Error string `json:"error"`
}

// parseFetchRequest reads a request as it came over the socket.
func parseFetchRequest(data []byte) (FetchRequest, error) {
	if len(data) > MaxMessage {
		return FetchRequest{}, fmt.Errorf("the request has more than %d bytes: ask in several", MaxMessage)
	}
	var r FetchRequest
	if err := unmarshalStrict(data, &r); err != nil {
		return FetchRequest{}, fmt.Errorf("the request is not the JSON of a fetch request: %s: use the plugin and the agent of one version", clip(err.Error(), 200))
	}
	if err := r.validate(); err != nil {
		return FetchRequest{}, err
	}
	return r, nil
}

func (r FetchRequest) validate() error {
	ref, err := verifier.ParseReference(r.Repository)
	if err != nil || ref.Repository != r.Repository {
		return fmt.Errorf("%q is not a normalised repository: send what verifier.ParseReference returns", clip(r.Repository, 200))
	}
	if len(r.Digests) == 0 {
		return errors.New("the request names no digest: name at least one")
	}
	if len(r.Digests) > MaxDigests {
		return fmt.Errorf("the request names %d digests and may name %d: ask in several", len(r.Digests), MaxDigests)
	}
	for i, d := range r.Digests {
		if _, err := verifier.ParseDigest(string(d)); err != nil {
			return fmt.Errorf("digest %d of the request: %w", i, err)
		}
	}
	return nil
}

// boundFailures keeps a list of failures within its limits, and says so where it cut.
func boundFailures(failures []string) []string {
	if len(failures) > MaxFailures {
		more := fmt.Sprintf("and %d more failures", len(failures)-MaxFailures+1)
		failures = append(slices.Clone(failures[:MaxFailures-1]), more)
	}
	bounded := make([]string, len(failures))
	for i, f := range failures {
		bounded[i] = clip(f, MaxFailure)
	}
	return bounded
}
