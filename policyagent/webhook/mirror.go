package webhook

import "strings"

// The names under which a kubelet speaks, and the mark of what it mirrors.
// https://kubernetes.io/docs/reference/access-authn-authz/node/
const (
	nodePrefix       = "system:node:"
	nodeGroup        = "system:nodes"
	mirrorAnnotation = "kubernetes.io/config.mirror"
)

// asker is who made the request, as far as it matters here.
type asker struct {
	name string
	// node is true for a member of nodeGroup.
	node bool
}

func (c *cursor) asker(a *asker) field {
	return field{"userInfo", func() error {
		return c.object(
			c.text("username", &a.name),
			field{"groups", func() error {
				return c.list(func() error {
					group := string(c.raw()) // consumed whatever it is
					a.node = a.node || group == `"`+nodeGroup+`"`
					return nil
				})
			}},
		)
	}}
}

// mirrors says whether a review is a node's account of a static pod, which it has from a file. The node runs such a pod or
// refuses to, whatever the API server says, and without the account nobody would see why; from the account itself no
// kubelet starts anything. What counts is the node's own credentials: everybody may write the annotation.
func (r review) mirrors() (bool, error) {
	if r.kind != (groupKind{kind: "Pod"}) || r.operation != opCreate || r.subresource != "" || !r.by.node || !strings.HasPrefix(r.by.name, nodePrefix) {
		return false, nil
	}
	var marked, node string
	c := cursor{data: r.object}
	err := c.object(
		field{"metadata", func() error {
			return c.object(field{"annotations", func() error { return c.object(c.text(mirrorAnnotation, &marked)) }})
		}},
		field{"spec", func() error { return c.object(c.text("nodeName", &node)) }},
	)
	return err == nil && marked != "" && nodePrefix+node == r.by.name, err
}
