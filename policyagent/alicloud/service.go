package alicloud

import (
	"strings"
)

// service is one of the services that are asked. Values: https://api.aliyun.com/meta/v1/products
type service struct {
	// name is what errors and settings call it.
	name string
	// product and version are those of its API.
	product, version string
	// ram is the prefix of its RAM actions.
	ram string
	// callsPerSecond is the default limit of ours.
	callsPerSecond int
}

var (
	kms = service{name: "kms", product: "Kms", version: "2016-01-20", ram: "kms", callsPerSecond: 20}
	sas = service{name: "sas", product: "Sas", version: "2018-12-03", ram: "yundun-sas", callsPerSecond: 5}
	cr  = service{name: "cr", product: "cr", version: "2018-12-01", ram: "cr", callsPerSecond: 10}
	sts = service{name: "sts", product: "Sts", version: "2015-04-01", ram: "sts", callsPerSecond: 5}
	// ecs is the instance's own metadata, which has no endpoint and no RAM.
	ecs = service{name: "ecs", callsPerSecond: 10}
)

// host returns where a service is asked about a region. The region may come from outside (a witness, a key's name) and
// ends up in a host name, so whatever is not the name of a region is refused: it gets no signed request.
func (c Config) host(s service, region string) (string, bool) {
	if !isRegion(region) {
		return "", false
	}
	custom := map[string]string{kms.name: c.Endpoints.KMS, sas.name: c.Endpoints.SAS, cr.name: c.Endpoints.CR, sts.name: c.Endpoints.STS}[s.name]
	if s.name == sas.name {
		region = securityCenterRegion(region)
	}
	if custom != "" {
		return strings.ReplaceAll(custom, "{region}", region), true
	}
	if s.name == sas.name {
		// No VPC endpoint is documented, so both networks use the public one.
		return "tds." + region + ".aliyuncs.com", true
	}
	network := ""
	if c.Network == "vpc" {
		network = "-vpc"
	}
	return s.name + network + "." + region + ".aliyuncs.com", true
}

// securityCenterRegion returns which of Security Center's two sites keeps a region's policies: Shanghai those of the
// mainland and Hong Kong, Singapore all others.
func securityCenterRegion(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "cn-shanghai"
	}
	return "ap-southeast-1"
}
