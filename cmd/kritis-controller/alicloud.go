package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/securitycenter"
)

// alicloudFlags say whether Alibaba Cloud is asked, and for what.
type alicloudFlags struct {
	config, clusterID, keyVersions string
	interval, refresh              time.Duration
}

// Values of --key-versions.
const (
	keysNamed   = "Named"
	keysKeepOld = "KeepOld"
)

func (f *alicloudFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.config, "alicloud-config", "", "`file` that says as whom Alibaba Cloud is asked, and where; empty: it is not asked")
	fs.StringVar(&f.clusterID, "cluster-id", "", "`ID` by which Security Center's policies name this cluster; empty: they are not asked for")
	fs.DurationVar(&f.interval, "sync-interval", 30*time.Second, "time between two questions to Security Center, 5s or more")
	fs.StringVar(&f.keyVersions, "key-versions", keysNamed, "which versions of a witness' KMS key count: Named, the one that it names; KeepOld, earlier ones too")
	fs.DurationVar(&f.refresh, "key-refresh", 12*time.Hour, "time after which KMS is asked for a known key again")
}

// client returns the client, nil if Alibaba Cloud is not asked.
func (f *alicloudFlags) client(log *slog.Logger) (*alicloud.Client, error) {
	if f.config == "" {
		if f.clusterID != "" {
			return nil, errors.New("--cluster-id needs --alicloud-config: name the file that says as whom Security Center is asked")
		}
		return nil, nil
	}
	cfg, err := alicloud.ReadConfig(f.config)
	if err != nil {
		return nil, err
	}
	for _, setting := range cfg.Unsafe() {
		log.Warn("a setting loosens security", "setting", setting, "file", f.config)
	}
	return alicloud.New(cfg)
}

// securityCenter returns what is kept in sync, nil if nothing is.
func (f *alicloudFlags) securityCenter(client *alicloud.Client, log *slog.Logger) (*securitycenter.Config, error) {
	if f.keyVersions != keysNamed && f.keyVersions != keysKeepOld {
		return nil, fmt.Errorf("--key-versions is %q, must be %s or %s", f.keyVersions, keysNamed, keysKeepOld)
	}
	if client == nil || f.clusterID == "" {
		return nil, nil
	}
	return &securitycenter.Config{
		Cloud: client, ClusterID: f.clusterID, Interval: f.interval, KeyRefresh: f.refresh, KeepOldVersions: f.keyVersions == keysKeepOld, Log: log,
	}, nil
}
