package acr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxHosts is the number of custom domains.
const maxHosts = 1000

// Host is a custom domain of an instance.
type Host struct {
	// Host is as in the names of images: "images.example".
	Host string `json:"host"`
	// Instance is the instance's name, and Region where it is.
	Instance string `json:"instance"`
	Region   string `json:"region"`
}

// ParseHost reads a custom domain as "images.example=cn-hangzhou/team": the host, the region, the instance's name.
func ParseHost(s string) (Host, error) {
	host, where, ok := strings.Cut(s, "=")
	region, instance, both := strings.Cut(where, "/")
	if !ok || !both {
		return Host{}, fmt.Errorf("%q is not a custom domain of ACR: write it as images.example=cn-hangzhou/team, with the region and the instance's name", s)
	}
	return Host{Host: host, Instance: instance, Region: region}, nil
}

// place is where an image is kept.
type place struct{ instance, region string }

// hosts are the custom domains, by host.
type hosts map[string]place

var (
	// hostForm takes the documented hosts apart. The region becomes part of an address that is called, so it is no more
	// than letters, digits and dashes; personal instances (….personal.cr.aliyuncs.com) have a dot there.
	hostForm   = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)\.([a-z]{2}-[a-z0-9]+(?:-[a-z0-9]+)*)\.cr\.aliyuncs\.com$`)
	nameForm   = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)
	regionForm = regexp.MustCompile(`^[a-z]{2}-[a-z0-9]+(?:-[a-z0-9]+)*$`)
)

func newHosts(custom []Host) (hosts, error) {
	if len(custom) > maxHosts {
		return nil, fmt.Errorf("there are %d custom hosts of ACR and may be %d: remove some", len(custom), maxHosts)
	}
	h := hosts{}
	var errs []error
	for i, c := range custom {
		_, twice := h[c.Host]
		switch {
		case c.Host == "" || strings.ContainsAny(c.Host, "/* ") || strings.ToLower(c.Host) != c.Host:
			errs = append(errs, fmt.Errorf("hosts[%d].host: %q is not a registry's host: write it as in the names of its images", i, c.Host))
		case twice:
			errs = append(errs, fmt.Errorf("hosts[%d].host: %q is there twice: keep one", i, c.Host))
		case !nameForm.MatchString(c.Instance):
			errs = append(errs, fmt.Errorf("hosts[%d].instance: %q is not the name of an instance: write the name, not the ID", i, c.Instance))
		case !regionForm.MatchString(c.Region):
			errs = append(errs, fmt.Errorf("hosts[%d].region: %q is not a region: write one such as cn-hangzhou", i, c.Region))
		default:
			h[c.Host] = place{c.Instance, c.Region}
		}
	}
	return h, errors.Join(errs...)
}

// place returns the instance that a repository's host names.
func (h hosts) place(repository string) (place, bool) {
	host, path, _ := strings.Cut(repository, "/")
	if path == "" {
		return place{}, false
	}
	if p, ok := h[host]; ok {
		return p, true
	}
	m := hostForm.FindStringSubmatch(host)
	if m == nil {
		return place{}, false
	}
	// Of an instance that is itself called "x-registry" the short form is taken for the long form of "x": nobody else's
	// instance may get its logins.
	name := strings.TrimSuffix(strings.TrimSuffix(m[1], "-vpc"), "-registry")
	if !strings.HasSuffix(m[1], "-registry") && !strings.HasSuffix(m[1], "-registry-vpc") {
		name = m[1]
	}
	return place{name, m[2]}, true
}
