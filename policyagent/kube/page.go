package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

const (
	// pageSize is how many objects the API server is asked for at once.
	pageSize = 250
	// maxRestarts is how often a list begins anew because its pages became too old.
	maxRestarts = 3
)

// object is one object on its way into a store: the metadata that a Reflector needs, and what matters here.
type object struct {
	metav1.TypeMeta
	metav1.ObjectMeta // namespace, name and resourceVersion
	value             any
	size              int // of its JSON, in bytes
}

// DeepCopyObject implements runtime.Object. Values never change, so they are shared.
func (o *object) DeepCopyObject() runtime.Object {
	c := *o
	return &c
}

// list is a complete list.
type list struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject implements runtime.Object.
func (l *list) DeepCopyObject() runtime.Object {
	c := *l
	return &c
}

// page is a list as the API server sends it: all of it, or the next part.
type page struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Metadata   metav1.ListMeta    `json:"metadata"`
	Items      *[]json.RawMessage `json:"items"`
}

// identity is which object it is.
type identity struct {
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
}

// list reads all pages. Without a resource version the API server answers with what is newest.
func (r *resource) list(ctx context.Context) (*list, error) {
	for restart := 0; ; restart++ {
		all, err := r.listOnce(ctx)
		if apierrors.IsResourceExpired(err) && restart < maxRestarts {
			continue // the next page was of a version that is no longer kept
		}
		return all, err
	}
}

func (r *resource) listOnce(ctx context.Context) (*list, error) {
	all := &list{}
	left := r.limits
	for next := ""; ; {
		p, size, err := r.page(ctx, next, left.bytes)
		if err != nil {
			return nil, err
		}
		if left.bytes -= size; len(*p.Items) > left.objects {
			return nil, fmt.Errorf("there are more than %d objects: remove some", r.limits.objects)
		}
		left.objects -= len(*p.Items)
		for _, raw := range *p.Items {
			o, err := r.object(raw)
			if err != nil {
				return nil, err
			}
			all.Items = append(all.Items, o)
		}
		all.ResourceVersion = p.Metadata.ResourceVersion
		switch n := p.Metadata.RemainingItemCount; {
		case p.Metadata.Continue == "" && n != nil && *n > 0:
			return nil, fmt.Errorf("the list ends and leaves out %d objects: is something between here and the API server changing it?", *n)
		case p.Metadata.Continue == "":
			return all, nil
		case p.Metadata.Continue == next:
			return nil, errors.New("the list goes in circles: is something between here and the API server changing it?")
		}
		next = p.Metadata.Continue
	}
}

// page reads one page and checks that it is one.
func (r *resource) page(ctx context.Context, next string, limit int) (*page, int, error) {
	req := r.request().Param("limit", strconv.Itoa(pageSize))
	if next != "" {
		req = req.Param("continue", next)
	}
	data, err := read(ctx, req, limit)
	if err != nil {
		return nil, 0, err
	}
	var p page
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &p); err != nil {
		return nil, 0, fmt.Errorf("the list is not JSON: %w", err)
	}
	if p.APIVersion != r.apiVersion() || p.Kind != r.kind+"List" || p.Metadata.ResourceVersion == "" || p.Items == nil {
		return nil, 0, fmt.Errorf("the answer is not a complete %sList of %s: is this an API server?", r.kind, r.apiVersion())
	}
	return &p, len(data), nil
}

// object reads what can be read. Without a name it is no object, and who knows what is left out besides.
func (r *resource) object(raw []byte) (*object, error) {
	var head struct {
		Metadata identity `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &head); err != nil {
		return nil, fmt.Errorf("an object is not JSON: %w", err)
	}
	id := head.Metadata
	if id.Name == "" || id.ResourceVersion == "" {
		return nil, errors.New("an object has no name or no resource version: is this an API server?")
	}
	return &object{
		ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name, ResourceVersion: id.ResourceVersion},
		value:      r.decode(id, raw), size: len(raw),
	}, nil
}

// getter is the part of a request that reads.
type getter interface {
	Stream(context.Context) (io.ReadCloser, error)
}

// read returns the body of an answer of at most limit bytes.
func read(ctx context.Context, req getter, limit int) ([]byte, error) {
	body, err := req.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("the answer was cut short: %w", err)
	}
	if len(data) > limit {
		return nil, errors.New("the objects are larger than fits: remove or shorten some")
	}
	return data, nil
}
