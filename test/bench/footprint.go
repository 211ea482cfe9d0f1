package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/go-digest"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	digestsHeld  = 10_000
	targetMemory = 30 << 20
)

// footprint measures the plugin process: size, time to enforcing, memory with many verified images. The runtime is
// NRI's own runtime side with a content store in memory: ten thousand real images would say nothing more about us.
func footprint(ctx context.Context) (err error) {
	fmt.Println("\nThe plugin process")
	dir, err := os.MkdirTemp("/run", "footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "kritis")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/kritis")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build kritis: %w: %s", err, output)
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	fmt.Printf("binary size, all commands                  %8.1f MB\n", float64(info.Size())/1e6)

	images, store, err := manyImages(filepath.Join(dir, "state"), digestsHeld)
	if err != nil {
		return err
	}
	r, err := startRuntime(dir, store)
	if err != nil {
		return err
	}
	defer r.stop()
	began := time.Now()
	p, err := cluster.StartProcess(ctx, cluster.Command{Path: program, Log: filepath.Join(dir, "plugin.log"), Args: []string{"plugin",
		"--state-dir", filepath.Join(dir, "state"), "--floor", filepath.Join(dir, "floor.yaml"), "--nri-socket", r.nriSocket,
		"--containerd-socket", r.storeSocket, "--agent-socket", filepath.Join(dir, "agent.sock"), "--socket", filepath.Join(dir, "plugin.sock"),
		"--audit-log", filepath.Join(dir, "audit.jsonl"), "--required", "yes"}}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(ctx)) }()
	select {
	case <-r.synchronized:
	case <-p.Ended():
		return fmt.Errorf("the plugin ended: %w", p.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Printf("start to enforcing                         %8.0f ms\n", float64(time.Since(began).Microseconds())/1000)
	idle, err := resident(p.PID())
	if err != nil {
		return err
	}
	fmt.Printf("resident memory, idle                      %8.1f MB\n", float64(idle)/1e6)
	for _, i := range images {
		if err := r.create(ctx, i); err != nil {
			return err
		}
	}
	held, err := resident(p.PID())
	if err != nil {
		return err
	}
	fmt.Printf("resident memory, %d verified digests    %8.1f MB  target ≤ 30 MB\n", len(images), float64(held)/1e6)
	if held > targetMemory {
		return errors.New("a target was missed")
	}
	return nil
}

// resident is a process' resident memory in bytes.
func resident(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if kb, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(kb), []byte("kB")))), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// manyImages makes attested images, their records in the state folder, and a content store with their manifests.
func manyImages(stateDir string, n int) ([]*api.Container, blobs, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	state, err := nodestate.Create(stateDir)
	if err != nil {
		return nil, nil, err
	}
	defer state.Close()
	err = state.WritePolicy(nodestate.Policy{Generation: 1, WrittenAt: time.Now(), Document: verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}},
	}})
	if err != nil {
		return nil, nil, err
	}
	store := blobs{}
	var images []*api.Container
	for i := range n {
		repository := fmt.Sprintf("registry.example/team/service-%d", i%500)
		config := store.put(map[string]any{"created": i, "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromString(repository)}}})
		manifest := store.put(map[string]any{"schemaVersion": 2, "config": map[string]any{"digest": config}, "layers": []any{}})
		payload, err := signing.Payload(repository, verifier.Digest(manifest))
		if err != nil {
			return nil, nil, err
		}
		hash := sha256.Sum256(payload)
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, hash[:])
		if err != nil {
			return nil, nil, err
		}
		err = state.WriteRecord(nodestate.Record{Repository: repository, Digest: verifier.Digest(manifest), FetchedAt: time.Now(),
			Attestations: []verifier.Attestation{{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{Value: signature}}}}})
		if err != nil {
			return nil, nil, err
		}
		images = append(images, &api.Container{
			Id:          fmt.Sprintf("container-%d", i),
			Annotations: map[string]string{"io.kubernetes.cri.image-name": repository + "@" + manifest.String()},
			Image:       &api.Image{Name: repository, Digest: manifest.String(), ConfigDigest: config.String()},
		})
	}
	return images, store, nil
}

// blobs is a content store in memory.
type blobs map[digest.Digest][]byte

func (b blobs) put(doc any) digest.Digest {
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	d := digest.FromBytes(data)
	b[d] = data
	return d
}
