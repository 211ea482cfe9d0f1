package alicloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Instances returns the ACR Enterprise Edition instances of a region.
func (c *Client) Instances(ctx context.Context, region string) ([]Instance, error) {
	var all []Instance
	err := c.all(ctx, listing{
		call:   call{service: cr, action: "ListInstance", region: region},
		number: "PageNo", size: 100,
		page: func(o object) ([]json.RawMessage, int, error) { return itemsOf(o, o, "Instances") },
		item: func(o object) (string, error) {
			i, err := instance(o, region)
			all = append(all, i)
			return i.ID, err
		},
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func instance(o object, region string) (Instance, error) {
	var i Instance
	for name, to := range map[string]*string{"InstanceId": &i.ID, "InstanceName": &i.Name, "RegionId": &i.Region} {
		var err error
		if *to, err = o.text(name); err != nil {
			return i, err
		}
	}
	if i.ID == "" || i.Name == "" {
		return i, fmt.Errorf("it has no InstanceId or InstanceName")
	}
	if i.Region == "" {
		i.Region = region
	}
	if !isRegion(i.Region) {
		return i, fmt.Errorf("RegionId is %s", quoted(i.Region))
	}
	return i, nil
}

// RegistryLogin returns a temporary login at an instance. It asks each time: keep it while it is good.
func (c *Client) RegistryLogin(ctx context.Context, i Instance) (Login, error) {
	const action = "GetAuthorizationToken"
	o, failed := c.ask(ctx, call{cr, action, i.Region, map[string]string{"InstanceId": i.ID}})
	if failed != nil {
		return Login{}, failed
	}
	l, err := login(o)
	if err != nil {
		return Login{}, cr.unfit(action, "the answer cannot be understood: "+bounded(err.Error()))
	}
	return l, nil
}

func login(o object) (Login, error) {
	var l Login
	var err error
	if l.User, err = o.text("TempUsername"); err != nil {
		return Login{}, err
	}
	if l.Password, err = o.text("AuthorizationToken"); err != nil {
		return Login{}, err
	}
	text, err := o.text("ExpireTime")
	if err != nil {
		return Login{}, err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 || l.User == "" || l.Password == "" {
		return Login{}, fmt.Errorf("it holds no TempUsername, AuthorizationToken and ExpireTime")
	}
	l.Expires = time.UnixMilli(ms)
	return l, nil
}
