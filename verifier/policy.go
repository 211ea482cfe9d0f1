package verifier

import (
	"cmp"
	"slices"
)

// Limits of one object.
const (
	// MaxKeys is the number of keys of one authority.
	MaxKeys = 16
	// MaxAuthorities is the number of authorities that one policy names. One that names more cannot be satisfied.
	MaxAuthorities = 1000
	// MaxProblems is the number of problems that are told of one object: an object of a few kilobytes can have thousands.
	MaxProblems = 20
)

// PolicySet is a compiled Document: every policy of a cluster. It does not change. The zero value is as good as no
// policy set at all.
type PolicySet struct {
	compiled bool
	dryRun   bool
	// policies by namespace, each in order of name.
	policies map[string][]*policy
	allow    []allowEntry
}

type policy struct {
	namespace, name string
	authorities     []*authority
	allow           []allowEntry
	resolve, dryRun bool
	// why says why the policy cannot be satisfied by attestations. Empty: it can.
	why string
}

type authority struct {
	name string
	// repositoryBound refuses statements that name no repository.
	repositoryBound bool
	keys            []Key
	// why says why the authority attests nothing. Empty: it has keys.
	why string
}

// Compile checks a Document and makes it ready for decisions. It never fails as a whole: what has a problem attests,
// allows and satisfies nothing, and the rest stays in force. A policy that can never be satisfied still governs its
// namespace. Of objects that exist twice under one name, neither counts. The same document gives the same result.
func Compile(doc Document) (*PolicySet, []Problem) {
	c := compiler{}
	set := &PolicySet{compiled: true, dryRun: doc.DryRun, policies: map[string][]*policy{}}
	authorities := c.compileAuthorities(doc.Authorities)
	for _, p := range c.compilePolicies(doc.Policies, authorities) {
		set.policies[p.namespace] = append(set.policies[p.namespace], p)
	}
	set.allow = c.compileAllowlist(doc.Allowlist)
	return set, c.problems
}

type objectKey struct{ namespace, name string }

// compiler collects problems on the way. In a floor, authorities have no namespace and policies a pattern of them.
type compiler struct {
	floor    bool
	problems []Problem
	// told counts them by object.
	told map[string]int
}

func (c *compiler) problem(object, field, code, text string) {
	if c.told == nil {
		c.told = map[string]int{}
	}
	c.told[object]++
	switch n := c.told[object]; {
	case n == MaxProblems+1:
		field, code, text = "", CodeMoreProblems, textMoreProblems
	case n > MaxProblems:
		return
	}
	c.problems = append(c.problems, Problem{Object: object, Field: field, Code: code, Text: text})
}

func (c *compiler) compileAuthorities(specs []AuthoritySpec) map[objectKey]*authority {
	all := map[objectKey]*authority{}
	for _, spec := range specs {
		object := objectName(kindAuthority, spec.Namespace, spec.Name)
		key := objectKey{spec.Namespace, spec.Name}
		if spec.Name == "" || (spec.Namespace == "") != c.floor {
			c.problem(object, "", CodeNameMissing, c.nameText())
			continue
		}
		if first, twice := all[key]; twice {
			c.problem(object, "", CodeDuplicate, textDuplicate)
			first.keys, first.why = nil, whyAuthorityDuplicate
			continue
		}
		all[key] = c.compileAuthority(object, spec)
	}
	return all
}

func (c *compiler) compileAuthority(object string, spec AuthoritySpec) *authority {
	a := &authority{name: spec.Name, repositoryBound: spec.RepositoryBound}
	for i, keySpec := range spec.Keys {
		if i == MaxKeys {
			c.problem(object, index("keys", i, ""), CodeKeyLimit, textKeyLimit)
			break
		}
		key, err := ParseKey(keySpec)
		if err != nil {
			c.problem(object, index("keys", i, ".pem"), CodeKeyNotSupported, err.Error())
			continue
		}
		a.keys = append(a.keys, key)
	}
	if len(a.keys) == 0 {
		a.why = whyNoKey
		if len(spec.Keys) == 0 {
			c.problem(object, "keys", CodeKeyMissing, textKeyMissing)
		}
	}
	return a
}

// compilePolicies returns the policies in order of namespace and name.
func (c *compiler) compilePolicies(specs []PolicySpec, authorities map[objectKey]*authority) []*policy {
	all := map[objectKey]*policy{}
	var sorted []*policy
	for _, spec := range specs {
		object := objectName(kindPolicy, spec.Namespace, spec.Name)
		key := objectKey{spec.Namespace, spec.Name}
		if first, twice := all[key]; twice {
			c.problem(object, "", CodeDuplicate, textDuplicate)
			*first = policy{namespace: spec.Namespace, name: spec.Name, why: whyPolicyDuplicate}
			continue
		}
		p := c.compilePolicy(object, spec, authorities)
		all[key] = p
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, func(a, b *policy) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return sorted
}

func (c *compiler) compilePolicy(object string, spec PolicySpec, authorities map[objectKey]*authority) *policy {
	p := &policy{namespace: spec.Namespace, name: spec.Name, dryRun: spec.DryRun}
	if spec.Name == "" || spec.Namespace == "" {
		c.problem(object, "", CodeNameMissing, textNameMissing)
		p.why = whyPolicyNameless
		return p
	}
	if c.floor && checkNamespacePattern(spec.Namespace) != nil {
		c.problem(object, "namespace", CodeNamespaceInvalid, errNamespacePattern)
	}
	switch spec.TagPolicy {
	case "", "Reject":
	case "Resolve":
		p.resolve = true
	default:
		c.problem(object, "tagPolicy", CodeTagPolicyUnknown, textTagPolicy)
	}
	for i, text := range spec.Allow {
		if entry, ok := c.compilePattern(object, index("allow", i, ""), text); ok {
			p.allow = append(p.allow, entry)
		}
	}
	if len(spec.AuthorityNames) == 0 {
		c.problem(object, "authorityNames", CodeNoAuthorities, textNoAuthorities)
		p.why = whyNoAuthorities
	}
	if len(spec.AuthorityNames) > MaxAuthorities {
		c.problem(object, "authorityNames", CodeAuthorityLimit, textAuthoritiesMany)
		p.why = whyAuthoritiesMany
		return p
	}
	for i, name := range spec.AuthorityNames {
		p.authorities = append(p.authorities, c.findAuthority(object, i, spec, name, authorities))
	}
	return p
}

func (c *compiler) findAuthority(object string, i int, spec PolicySpec, name string, authorities map[objectKey]*authority) *authority {
	key := objectKey{spec.Namespace, name}
	if c.floor {
		key.namespace = ""
	}
	a, ok := authorities[key]
	switch {
	case !ok:
		c.problem(object, index("authorityNames", i, ""), CodeAuthorityMissing, why(textAuthorityMissing, name))
		return &authority{name: name, why: whyAuthorityMissing}
	case a.why != "":
		c.problem(object, index("authorityNames", i, ""), CodeAuthorityUnusable, why(textAuthorityUnusable, name))
	}
	return a
}

func (c *compiler) nameText() string {
	if c.floor {
		return textFloorAuthority
	}
	return textNameMissing
}
