package nodestate

import "time"

// Status is how the policy agent is doing, for `kritis status`. Nothing decides by it.
type Status struct {
	Version   string    `json:"version,omitempty"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	WrittenAt time.Time `json:"writtenAt"`
	// StoppedAt is set by an agent that ended in an orderly way.
	StoppedAt time.Time `json:"stoppedAt,omitzero"`

	PolicySource     string    `json:"policySource"`
	PolicyGeneration uint64    `json:"policyGeneration"`
	PolicyWrittenAt  time.Time `json:"policyWrittenAt,omitzero"`
	// PolicyError is why the policies as they are now could not be loaded; those of PolicyGeneration stay in force.
	PolicyError string `json:"policyError,omitempty"`
	// PolicyProblems is the number of things in the policies in force that cannot be used as written.
	PolicyProblems int      `json:"policyProblems"`
	PolicyNotices  []string `json:"policyNotices,omitempty"`
	// UnsafeDryRun: the agent was told to let every failing request through.
	UnsafeDryRun bool `json:"unsafeDryRun,omitempty"`

	Sources []SourceStatus `json:"sources,omitempty"`
	Fetches FetchCounts    `json:"fetches"`
}

// SourceStatus is one source of attestations.
type SourceStatus struct {
	Name   string `json:"name"`
	Asked  uint64 `json:"asked"`
	Failed uint64 `json:"failed"`
	// LastError is the latest failure, also when later requests succeeded.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	// Unsafe are the source's settings that loosen security, such as "insecureSkipVerify for registry.example".
	Unsafe []string `json:"unsafe,omitempty"`
}

// FetchCounts count since the agent started. One fetch is one digest of one repository.
type FetchCounts struct {
	Requested  uint64 `json:"requested"`
	Fresh      uint64 `json:"fresh"`
	Joined     uint64 `json:"joined"`
	Complete   uint64 `json:"complete"`
	Incomplete uint64 `json:"incomplete"`
	Dropped    uint64 `json:"dropped"`
	// Unwritten counts records that could not be written to the state folder.
	Unwritten uint64 `json:"unwritten"`
	Running   int    `json:"running"`
	Queued    int    `json:"queued"`
}
