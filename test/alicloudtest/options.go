package alicloudtest

import "time"

// Options are what [Start] takes. The zero value listens on loopback and knows nobody.
type Options struct {
	// Address is where the TLS listener of the services is; empty: a free port of 127.0.0.1.
	Address string
	// Hosts are further names and IP addresses that the certificate is valid for. The listener's own address, localhost
	// and every name under aliyuncs.com always are.
	Hosts []string
	// Dir receives the certificate authority; empty: a temporary folder that Close removes.
	Dir string
	// Account is the account's number; empty: 1234567890123456.
	Account string
	// Region is where requests go that name none, and the first region of keys and instances; empty: cn-hangzhou.
	Region string

	// MetadataAddress is where the metadata of an instance are; empty: a free port of 127.0.0.1. Plain HTTP, as in the cloud.
	MetadataAddress string
	// MetadataRole is the role of the instance; empty: none.
	MetadataRole string
	// UnhardenedMetadata answers requests without a token, too (version 1 of the metadata service).
	UnhardenedMetadata bool
	// CredentialLife is how long credentials live that STS and the metadata give; zero: an hour, or what the caller asks STS
	// for. It may be shorter than the 15 minutes that STS allows.
	CredentialLife time.Duration
	// LoginLife is how long a temporary login at a registry lives; zero: an hour.
	LoginLife time.Duration

	// Registry is the URL of a plain registry that holds the images of all instances; empty: there is no registry.
	Registry string
	// RegistryAddress is where the registry of the instances listens; empty: a free port of 127.0.0.1.
	RegistryAddress string
	// RegistryTLS makes it speak TLS with a certificate of the same authority.
	RegistryTLS bool

	// KMSQuota is how many requests a second KMS answers for a region, DescribeKey, ListKeyVersions and GetPublicKey together;
	// zero: 50, as documented; negative: any number.
	KMSQuota int
	// DisabledKeysTell makes GetPublicKey answer for keys that are disabled or about to be deleted.
	DisabledKeysTell bool
	// LenientParameters lets parameters pass that an action does not have.
	LenientParameters bool
	// Spelling is how Security Center writes its policies.
	Spelling Spelling

	// Now is the clock; nil: the real one. Delays of signature rules and faults do not follow it.
	Now func() time.Time
}

// Spelling chooses among what the documentation of Security Center says in different places.
type Spelling struct {
	// On and Off are a policy's status when it is read; empty: "enabled" and "disabled".
	On  string `yaml:"on"`
	Off string `yaml:"off"`
	// LowerKeys writes policyMode and requiredAttestors instead of PolicyMode and RequiredAttestors.
	LowerKeys bool `yaml:"lowerKeys"`
	// PolicyAsString writes Policy as a string that holds JSON.
	PolicyAsString bool `yaml:"policyAsString"`
	// ClustersAsString writes Clusters as a string that holds JSON.
	ClustersAsString bool `yaml:"clustersAsString"`
}

func (o Options) withDefaults() Options {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.Address, "127.0.0.1:0")
	set(&o.MetadataAddress, "127.0.0.1:0")
	set(&o.RegistryAddress, "127.0.0.1:0")
	set(&o.Account, "1234567890123456")
	set(&o.Region, "cn-hangzhou")
	if o.KMSQuota == 0 {
		o.KMSQuota = 50
	}
	if o.LoginLife == 0 {
		o.LoginLife = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Spelling = o.Spelling.withDefaults()
	return o
}

func (s Spelling) withDefaults() Spelling {
	if s.On == "" {
		s.On = "enabled"
	}
	if s.Off == "" {
		s.Off = "disabled"
	}
	return s
}
