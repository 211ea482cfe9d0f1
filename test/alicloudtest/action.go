package alicloudtest

import (
	"net/http"
	"strconv"
)

// service names a service as errors and counters do.
type service string

const (
	sas service = "sas"
	kms service = "kms"
	cr  service = "cr"
	sts service = "sts"
)

// call is a request of the RPC style, authenticated.
type call struct {
	e          *Emulator
	service    service
	action     string
	region     string
	parameters map[string]string
	// empty and lose are the faults that change a listing.
	empty, lose bool
}

// param is a parameter's value, which is empty if it was not sent.
func (c *call) param(name string) string { return c.parameters[name] }

// handler answers one action; its object gains a RequestId.
type handler func(*call) (object, *apiError)

// action is what an action takes and who may do it.
type action struct {
	// ram is the action's name in RAM policies; empty: it is not signed and needs no permission.
	ram                string
	required, optional []string
	handle             handler
}

// versions tell the services apart, as the cloud's endpoints do.
func versions() map[string]service {
	return map[string]service{"2018-12-03": sas, "2016-01-20": kms, "2018-12-01": cr, "2015-04-01": sts}
}

// commonParameters are what every request may carry.
func commonParameters() []string {
	return []string{"Version", "Action", "Format", "Timestamp", "SignatureMethod", "SignatureVersion", "SignatureType", "SignatureNonce",
		"Signature", "AccessKeyId", "RegionId", "SecurityToken"}
}

// actions is the table of all actions.
func actions() map[service]map[string]action {
	list := func(names ...string) []string { return names }
	return map[service]map[string]action{
		kms: {
			"CreateKey":           {ram: "kms:CreateKey", optional: list("KeySpec", "KeyUsage", "Description", "Origin", "ProtectionLevel", "DKMSInstanceId"), handle: createKey},
			"DescribeKey":         {ram: "kms:DescribeKey", required: list("KeyId"), handle: describeKey},
			"CreateKeyVersion":    {ram: "kms:CreateKeyVersion", required: list("KeyId"), handle: createKeyVersion},
			"ListKeyVersions":     {ram: "kms:ListKeyVersions", required: list("KeyId"), optional: list("PageNumber", "PageSize"), handle: listKeyVersions},
			"CreateAlias":         {ram: "kms:CreateAlias", required: list("KeyId", "AliasName"), handle: createAlias},
			"EnableKey":           {ram: "kms:EnableKey", required: list("KeyId"), handle: changeState(Enabled)},
			"DisableKey":          {ram: "kms:DisableKey", required: list("KeyId"), handle: changeState(Disabled)},
			"ScheduleKeyDeletion": {ram: "kms:ScheduleKeyDeletion", required: list("KeyId", "PendingWindowInDays"), handle: scheduleKeyDeletion},
			"CancelKeyDeletion":   {ram: "kms:CancelKeyDeletion", required: list("KeyId"), handle: changeState(Disabled)},
			"GetPublicKey":        {ram: "kms:GetPublicKey", required: list("KeyId", "KeyVersionId"), optional: list("DryRun"), handle: getPublicKey},
			"AsymmetricSign": {ram: "kms:AsymmetricSign", required: list("KeyId", "KeyVersionId", "Algorithm", "Digest"), optional: list("DryRun"),
				handle: asymmetricSign},
			"AsymmetricVerify": {ram: "kms:AsymmetricVerify", required: list("KeyId", "KeyVersionId", "Algorithm", "Digest", "Value"),
				optional: list("DryRun"), handle: asymmetricVerify},
		},
		sas: {
			"DescribeAttestors": {ram: "yundun-sas:DescribeAttestors", optional: list("SourceIp", "Name", "CurrentPage", "PageSize"), handle: describeAttestors},
			"CreateAttestor": {ram: "yundun-sas:CreateAttestor", required: list("Name"),
				optional: list("SourceIp", "KeyRegionId", "KeyId", "KeyVersionId", "Remark"), handle: createAttestor},
			"ModifyAttestor": {ram: "yundun-sas:ModifyAttestor", required: list("Name"),
				optional: list("SourceIp", "KeyRegionId", "KeyId", "KeyVersionId", "Remark"), handle: modifyAttestor},
			"DeleteAttestor": {ram: "yundun-sas:DeleteAttestor", required: list("Name"), optional: list("SourceIp"), handle: deleteAttestor},
			"DescribeBinarySecurityPolicies": {ram: "yundun-sas:DescribeBinarySecurityPolicies",
				optional: list("SourceIp", "Name", "Status", "CurrentPage", "PageSize"), handle: describePolicies},
			"CreateBinarySecurityPolicy": {ram: "yundun-sas:CreateBinarySecurityPolicy", required: list("Policy", "Clusters"),
				optional: list("SourceIp", "Name", "Status", "Remark"), handle: createPolicy},
			"ModifyBinarySecurityPolicy": {ram: "yundun-sas:ModifyBinarySecurityPolicy", required: list("Name"),
				optional: list("SourceIp", "Policy", "Clusters", "Status", "Remark"), handle: modifyPolicy},
			"DeleteBinarySecurityPolicy": {ram: "yundun-sas:DeleteBinarySecurityPolicy", required: list("Name"), optional: list("SourceIp"),
				handle: deletePolicy},
		},
		cr: {
			"ListInstance": {ram: "cr:ListInstance", optional: list("InstanceName", "InstanceStatus", "PageNo", "PageSize", "ResourceGroupId"),
				handle: listInstance},
			"GetInstance":           {ram: "cr:GetInstance", required: list("InstanceId"), handle: getInstance},
			"GetAuthorizationToken": {ram: "cr:GetAuthorizationToken", required: list("InstanceId"), handle: getAuthorizationToken},
			"ListMetadataOccurrences": {ram: "cr:ListMetadataOccurrences", required: list("InstanceId"),
				optional: list("NoteName", "ResourceUri", "Kind", "PageNo", "PageSize"), handle: listOccurrences},
		},
		sts: {
			// None is marked as required in the documentation but RoleSessionName; each has an error of its own.
			"AssumeRoleWithOIDC": {required: list("RoleSessionName"),
				optional: list("RoleArn", "OIDCProviderArn", "OIDCToken", "DurationSeconds", "Policy"), handle: assumeRoleWithOIDC},
		},
	}
}

// number reads a parameter that is a number from 1 to most.
func (c *call) number(name string, otherwise, most int) (int, *apiError) {
	text := c.param(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		code := "Invalid" + name // as the gateway's documentation builds it
		if c.service == kms {
			code = "InvalidParameter"
		}
		return 0, failed(http.StatusBadRequest, code, "The specified parameter %s is not valid.", name)
	}
	return n, nil
}

// page cuts a page out of a listing, after the faults that listings have. The second result is the total that is told.
func page[T any](c *call, all []T, number, size int) ([]T, int) {
	if c.empty {
		return []T{}, 0
	}
	total := len(all)
	start := min((number-1)*size, total)
	cut := all[start:min(start+size, total)]
	if c.lose && number == (total+size-1)/size { // the last page: gone, or one item short if it is the only one
		cut = cut[:len(cut)-1]
		if number > 1 {
			cut = nil
		}
	}
	return append([]T{}, cut...), total
}
