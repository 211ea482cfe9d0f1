package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// Limits of what a person's command reads.
const (
	readTimeout  = 30 * time.Second // for one object, or one page of a list
	maxReadBytes = 256 << 20        // of one object or page
	maxListBytes = 1 << 30          // of all pages: they are not in memory at once
	maxReadItems = 50_000
)

// Objects name what is read: all objects of a resource, or those of a namespace.
type Objects struct {
	// Group is empty for Kubernetes' own kinds. Resource is the plural in lower case: "pods".
	Group, Version, Resource string
	// Namespace is empty for all namespaces, and for what is in none.
	Namespace string
}

// String is what messages call them: "leases.coordination.k8s.io in namespace kube-system".
func (o Objects) String() string {
	name := o.Resource
	if o.Group != "" {
		name += "." + o.Group
	}
	if o.Namespace != "" {
		name += " in namespace " + o.Namespace
	}
	return name
}

// Selection narrows a list.
type Selection struct {
	Labels, Fields string
	// Most is how many objects are wanted at most; 0: all.
	Most int
}

func path(group, version, namespace, resource string) string {
	root := "/apis/" + group + "/"
	if group == "" {
		root = "/api/"
	}
	if namespace != "" {
		resource = "namespaces/" + url.PathEscape(namespace) + "/" + resource
	}
	return root + version + "/" + resource
}

// ReadObject reads one object.
func (s *Server) ReadObject(ctx context.Context, o Objects, name string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	data, err := read(ctx, s.client.Get().AbsPath(path(o.Group, o.Version, o.Namespace, o.Resource)+"/"+url.PathEscape(name)), maxReadBytes)
	if err != nil {
		return s.explain(err, "get", o)
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, into); err != nil {
		return fmt.Errorf("reading %s: the answer is not JSON of this kind: %w", o, oneLine(err))
	}
	return nil
}

// ReadList calls each with the JSON of every object of a list.
func (s *Server) ReadList(ctx context.Context, o Objects, sel Selection, each func(json.RawMessage) error) error {
	seen, size := 0, 0
	for next := ""; ; {
		limit := pageSize
		if sel.Most > 0 {
			limit = min(limit, sel.Most-seen)
		}
		req := s.client.Get().AbsPath(path(o.Group, o.Version, o.Namespace, o.Resource)).Param("limit", strconv.Itoa(limit))
		for name, value := range map[string]string{"labelSelector": sel.Labels, "fieldSelector": sel.Fields, "continue": next} {
			if value != "" {
				req = req.Param(name, value)
			}
		}
		data, err := readPage(ctx, req, min(maxReadBytes, maxListBytes-size))
		if err != nil {
			return s.explain(err, "list", o)
		}
		var p page
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &p); err != nil || p.Items == nil {
			return fmt.Errorf("listing %s: the answer is not a list: is %s an API server?", o, s.Host())
		}
		size += len(data)
		for _, raw := range *p.Items {
			if seen++; seen > maxReadItems {
				return fmt.Errorf("listing %s: there are more than %d", o, maxReadItems)
			}
			if err := each(raw); err != nil {
				return fmt.Errorf("listing %s: %w", o, err)
			}
		}
		switch left := p.Metadata.RemainingItemCount; {
		case sel.Most > 0 && seen >= sel.Most:
			return nil
		case p.Metadata.Continue == "" && left != nil && *left > 0:
			return fmt.Errorf("listing %s: the list ends and leaves out %d: is something between here and the API server changing it?", o, *left)
		case p.Metadata.Continue == "":
			return nil
		case p.Metadata.Continue == next:
			return fmt.Errorf("listing %s: the list goes in circles: is something between here and the API server changing it?", o)
		}
		next = p.Metadata.Continue
	}
}

func readPage(ctx context.Context, req getter, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return read(ctx, req, limit)
}

// Discover returns the resources of a group in the version that the cluster prefers, and that version. A group that is not
// there is an error for which IsNotFound holds.
func (s *Server) Discover(ctx context.Context, group string) ([]metav1.APIResource, string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	what := Objects{Group: group, Resource: "resources"}
	var g metav1.APIGroup
	var list metav1.APIResourceList
	data, err := read(ctx, s.client.Get().AbsPath("/apis/"+url.PathEscape(group)), maxDiscovery)
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, &g)
	}
	version := g.PreferredVersion.Version
	if err == nil {
		data, err = read(ctx, s.client.Get().AbsPath("/apis/"+url.PathEscape(group)+"/"+url.PathEscape(version)), maxDiscovery)
	}
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, &list)
	}
	if err != nil {
		return nil, "", s.explain(err, "get", what)
	}
	return list.APIResources, version, nil
}

// IsNotFound says whether an error is that something does not exist.
func IsNotFound(err error) bool { return apierrors.IsNotFound(err) }

// IsForbidden says whether an error is a lack of rights.
func IsForbidden(err error) bool { return apierrors.IsForbidden(err) }

// explain says in one line what failed and what to do.
func (s *Server) explain(err error, verb string, o Objects) error {
	text := oneLine(err).Error()
	switch {
	case apierrors.IsForbidden(err):
		where := "in all namespaces"
		if o.Namespace != "" {
			where = "in namespace " + o.Namespace
		}
		group := o.Group
		if group == "" {
			group = "core"
		}
		text = fmt.Sprintf("you may not %s %s (API group %s) %s: ask for a role with that right; the API server says: %s", verb, o.Resource, group, where, text)
	case apierrors.IsUnauthorized(err):
		text = fmt.Sprintf("%s does not accept your credentials: log in again", s.Host())
	case apierrors.IsNotFound(err):
		text = fmt.Sprintf("reading %s: %s", o, text)
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		text = fmt.Sprintf("%s cannot be asked: %s; is the context the right one?", s.Host(), text)
	default:
		text = fmt.Sprintf("reading %s: %s", o, text)
	}
	return &readError{text, err}
}

// readError has a text of ours, and is what the API server said for those who branch on it.
type readError struct {
	text string
	err  error
}

func (e *readError) Error() string { return e.text }
func (e *readError) Unwrap() error { return e.err }
