package impact

import (
	"fmt"
	"slices"

	"github.com/kritis-node/kritis-node/verifier"
)

// Enforced is a policy without its dry run.
func Enforced(d verifier.Document) verifier.Document {
	d.DryRun = false
	d.Policies = slices.Clone(d.Policies)
	for i := range d.Policies {
		d.Policies[i].DryRun = false
	}
	return d
}

// Applied is what a cluster's policy becomes when objects are applied to it: those of the same kind and name are replaced.
func Applied(cluster, objects verifier.Document) verifier.Document {
	type name struct{ kind, namespace, name string }
	replaced := map[name]bool{}
	for _, a := range objects.Authorities {
		replaced[name{"a", a.Namespace, a.Name}] = true
	}
	for _, p := range objects.Policies {
		replaced[name{"p", p.Namespace, p.Name}] = true
	}
	for _, l := range objects.Allowlist {
		replaced[name{"l", "", l.List}] = true
	}
	d := verifier.Document{DryRun: cluster.DryRun}
	d.Authorities = append(slices.DeleteFunc(slices.Clone(cluster.Authorities), func(a verifier.AuthoritySpec) bool {
		return replaced[name{"a", a.Namespace, a.Name}]
	}), objects.Authorities...)
	d.Policies = append(slices.DeleteFunc(slices.Clone(cluster.Policies), func(p verifier.PolicySpec) bool {
		return replaced[name{"p", p.Namespace, p.Name}]
	}), objects.Policies...)
	d.Allowlist = append(slices.DeleteFunc(slices.Clone(cluster.Allowlist), func(l verifier.AllowSpec) bool {
		return replaced[name{"l", "", l.List}]
	}), objects.Allowlist...)
	return d
}

// Spread returns the policies and authorities of objects as if they were in each of the namespaces, and allow-lists as they are.
func Spread(objects verifier.Document, namespaces []string) (verifier.Document, error) {
	d := verifier.Document{Allowlist: objects.Allowlist}
	here := map[string]bool{}
	once := func(kind, name string) error {
		if here[kind+name] {
			return fmt.Errorf("several namespaces have a %s %s: to try it in all namespaces, name the objects of one", kind, name)
		}
		here[kind+name] = true
		return nil
	}
	for _, a := range objects.Authorities {
		if err := once("AttestationAuthority", a.Name); err != nil {
			return verifier.Document{}, err
		}
	}
	for _, p := range objects.Policies {
		if err := once("GenericAttestationPolicy", p.Name); err != nil {
			return verifier.Document{}, err
		}
	}
	for _, namespace := range namespaces {
		for _, a := range objects.Authorities {
			a.Namespace = namespace
			d.Authorities = append(d.Authorities, a)
		}
		for _, p := range objects.Policies {
			p.Namespace = namespace
			d.Policies = append(d.Policies, p)
		}
	}
	return d, nil
}

// Without returns those namespaces of the images for which there is no policy, in order.
func Without(d verifier.Document, all []Running) []string {
	has := map[string]bool{}
	for _, p := range d.Policies {
		has[p.Namespace] = true
	}
	var without []string
	for _, r := range all {
		if !has[r.Namespace] {
			has[r.Namespace] = true
			without = append(without, r.Namespace)
		}
	}
	slices.Sort(without)
	return without
}
