package alicloudtest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxFailures bounds the failures of rules that are remembered.
const maxFailures = 1_000

// SignatureRule signs whatever is pushed to a namespace of an instance with the key of a witness, as Container Registry does.
type SignatureRule struct {
	// Instance is the instance's ID; Namespace all before the first slash of a repository, empty: every one.
	Instance  string `yaml:"instance"`
	Namespace string `yaml:"namespace"`
	// Witness is looked up when something is pushed; it signs with its key's version, or with the newest.
	Witness string `yaml:"witness"`
	// PSS signs with RSA_PSS_SHA_256 instead of RSA_PKCS1_SHA_256.
	PSS bool `yaml:"pss"`
	// Delay is between the push and the attestation. Without one the attestation is there before the push has ended.
	Delay time.Duration `yaml:"delay"`
}

// AddSignatureRule adds a rule to an instance.
func (e *Emulator) AddSignatureRule(rule SignatureRule) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, refused := e.findInstance(rule.Instance); refused != nil {
		return refused
	}
	if len(e.rules) >= maxListed {
		return fmt.Errorf("there are %d rules already", maxListed)
	}
	e.rules = append(e.rules, rule)
	return nil
}

// RemoveSignatureRules removes all rules of a namespace.
func (e *Emulator) RemoveSignatureRules(instance, namespace string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules = slices.DeleteFunc(e.rules, func(r SignatureRule) bool { return r.Instance == instance && r.Namespace == namespace })
}

// SigningFailures are the failures of rules so far, one line each: the push succeeded all the same.
func (e *Emulator) SigningFailures() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.signedWrong)
}

// signPushed applies all rules to what was pushed.
func (e *Emulator) signPushed(p pushed) {
	e.mu.Lock()
	var rules []SignatureRule
	for _, rule := range e.rules {
		if rule.Instance == p.instance && (rule.Namespace == "" || rule.Namespace == namespaceOf(p.repository)) {
			rules = append(rules, rule)
		}
	}
	e.mu.Unlock()
	for _, rule := range rules {
		if rule.Delay <= 0 {
			e.apply(rule, p)
			continue
		}
		e.background.Go(func() {
			timer := time.NewTimer(rule.Delay)
			defer timer.Stop()
			select {
			case <-timer.C:
				e.apply(rule, p)
			case <-e.stopped:
			}
		})
	}
}

func (e *Emulator) apply(rule SignatureRule, p pushed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.attest(rule, p); err != nil && len(e.signedWrong) < maxFailures {
		e.signedWrong = append(e.signedWrong, fmt.Sprintf("%s@%s with witness %s: %v", p.repository, p.digest, rule.Witness, err))
	}
}

// attest makes an attestation for each host of the instance: which of its names a cluster pulls by is not known at the push.
func (e *Emulator) attest(rule SignatureRule, p pushed) error {
	at, refused := e.findInstance(p.instance)
	if refused != nil {
		return refused
	}
	i := slices.IndexFunc(e.witnesses, func(w Witness) bool { return w.Name == rule.Witness })
	if i < 0 {
		return errors.New("there is no such witness")
	}
	witness := e.witnesses[i]
	k, refused := e.findKey(witness.KeyRegion, witness.KeyID)
	if refused != nil {
		return refused
	}
	if refused := k.usable(); refused != nil {
		return refused
	}
	version := len(k.Versions) - 1
	if witness.KeyVersion != "" {
		if version, refused = k.numbered(witness.KeyVersion); refused != nil {
			return refused
		}
	}
	algorithm := "RSA_PKCS1_SHA_256"
	if rule.PSS {
		algorithm = "RSA_PSS_SHA_256"
	}
	if k.Spec != "RSA_2048" || k.Usage != SignVerify {
		return errors.New("image signing takes keys of RSA_2048 for SIGN/VERIFY only")
	}
	for _, host := range at.Hosts {
		if len(at.occurrences) >= maxOccurrences {
			return fmt.Errorf("there are %d occurrences already", maxOccurrences)
		}
		payload, err := statement(host+"/"+p.repository, p.digest)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(payload)
		value, err := sign(k.private[version], algorithm, hash[:])
		if err != nil {
			return err
		}
		at.occurrences = append(at.occurrences, Occurrence{
			NoteName: "namespaces/" + rule.Witness, ResourceURI: "https://" + host + "/" + p.repository + "@" + p.digest,
			Payload: payload, Signatures: []OccurrenceSignature{{KeyID: k.ID, Value: value}},
		})
	}
	return nil
}

// statement is kritis' payload. Its members stand in the order of kritis' own documentation.
func statement(repository, digest string) ([]byte, error) {
	type identity struct {
		Reference string `json:"docker-reference"`
	}
	type image struct {
		Digest string `json:"docker-manifest-digest"`
	}
	type critical struct {
		Identity identity `json:"identity"`
		Image    image    `json:"image"`
		Type     string   `json:"type"`
	}
	return json.Marshal(struct {
		Critical critical `json:"critical"`
	}{critical{identity{repository}, image{digest}, "atomic container signature"}})
}
