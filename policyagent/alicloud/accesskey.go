package alicloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSecretFile bounds a file with a part of a credential in bytes.
const maxSecretFile = 16 << 10

// accessKey reads an AccessKey at each call: whoever rotates it changes the files.
type accessKey struct {
	// dir is empty if fixed is used.
	dir   string
	fixed credential
}

func newAccessKey(config Credentials) (*accessKey, error) {
	if config.Dir != "" {
		return &accessKey{dir: config.Dir}, nil
	}
	c := credential{id: os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"), secret: os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET"), token: os.Getenv("ALIBABA_CLOUD_SECURITY_TOKEN")}
	if c.id == "" || c.secret == "" {
		return nil, errors.New("source AccessKey: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or name credentials.dir")
	}
	return &accessKey{fixed: c}, nil
}

func (a *accessKey) get(context.Context) (credential, *Error) {
	if a.dir == "" {
		return a.fixed, nil
	}
	c, err := readAccessKey(a.dir)
	if err != nil {
		return credential{}, &Error{Kind: Unauthenticated, Service: "credentials", Action: SourceAccessKey, Text: bounded(err.Error())}
	}
	return c, nil
}

// drop is true if the files hold another credential by now.
func (a *accessKey) drop(c credential) bool {
	if a.dir == "" {
		return false
	}
	now, err := readAccessKey(a.dir)
	return err == nil && now != c
}

func (*accessKey) wait() {}

// Format keeps it out of logs.
func (*accessKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// readAccessKey reads the files of one moment: the kubelet changes the files of a Secret all at once, by a link.
func readAccessKey(dir string) (credential, error) {
	if current, err := filepath.EvalSymlinks(filepath.Join(dir, "..data")); err == nil {
		dir = current
	}
	var c credential
	for _, file := range []struct {
		name string
		to   *string
	}{{"accessKeyId", &c.id}, {"accessKeySecret", &c.secret}, {"securityToken", &c.token}} {
		data, err := readBounded(filepath.Join(dir, file.name), maxSecretFile)
		if file.to == &c.token && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return credential{}, fmt.Errorf("read the AccessKey: %w", err)
		}
		*file.to = strings.TrimSpace(string(data))
		if *file.to == "" && file.to != &c.token {
			return credential{}, fmt.Errorf("read the AccessKey: %s is empty", filepath.Join(dir, file.name))
		}
	}
	return c, nil
}
