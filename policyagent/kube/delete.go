package kube

import (
	"context"
	"net/url"
)

// DeleteForeground begins to delete an object: it is there until everything that it owns is gone.
func (s *Server) DeleteForeground(ctx context.Context, o Objects, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	body := []byte(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground"}`)
	err := s.client.Delete().AbsPath(path(o.Group, o.Version, o.Namespace, o.Resource)+"/"+url.PathEscape(name)).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	if err != nil {
		return s.explain(err, "delete", o)
	}
	return nil
}
