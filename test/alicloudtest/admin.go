package alicloudtest

import (
	"io"
	"net/http"
	"strconv"
)

// serveAdmin is for shells: what the Go methods do, unsigned.
//
//	GET    /_emulator/calls?service=&action=&region=&keyId=&resourceUri=&status=&code=
//	DELETE /_emulator/calls
//	GET    /_emulator/faults
//	POST   /_emulator/faults         {service, action, kind, times}
//	DELETE /_emulator/faults
//	POST   /_emulator/state          a State
//	POST   /_emulator/spelling       {on, off, lowerKeys, policyAsString, clustersAsString}
//	POST   /_emulator/allow          {name, actions}
//	GET    /_emulator/key?region=&id=
//	POST   /_emulator/key            {region, id, state, rotate}
//	GET    /_emulator/occurrences?instance=
//	DELETE /_emulator/occurrences?instance=
//	GET    /_emulator/failures       of signature rules
func (e *Emulator) serveAdmin(w http.ResponseWriter, r *http.Request) {
	answer, err := e.admin(w, r)
	if err != nil {
		e.write(w, r, jsonResponse(http.StatusBadRequest, object{"error": err.Error()}), nil)
		return
	}
	if answer == nil {
		answer = object{"done": true}
	}
	e.write(w, r, jsonResponse(http.StatusOK, answer), nil)
}

func (e *Emulator) admin(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	switch r.Method + " " + r.URL.Path {
	case "GET /_emulator/calls":
		status, _ := strconv.Atoi(query.Get("status"))
		filter := Call{Service: query.Get("service"), Action: query.Get("action"), Region: query.Get("region"), KeyID: query.Get("keyId"),
			ResourceURI: query.Get("resourceUri"), Status: status, Code: query.Get("code")}
		return object{"total": e.Calls(filter), "calls": e.CallList(filter)}, nil
	case "DELETE /_emulator/calls":
		e.ForgetCalls()
	case "GET /_emulator/faults":
		return e.Faults(), nil
	case "POST /_emulator/faults":
		var fault Fault
		if err := decode(body, &fault); err != nil {
			return nil, err
		}
		_, err := e.Break(fault)
		return nil, err
	case "DELETE /_emulator/faults":
		e.Repair()
	case "POST /_emulator/state":
		state, err := ReadState(body)
		if err != nil {
			return nil, err
		}
		return e.Apply(state)
	case "POST /_emulator/spelling":
		var s Spelling
		if err := decode(body, &s); err != nil {
			return nil, err
		}
		e.Spell(s)
	case "POST /_emulator/allow":
		var allow struct {
			Name    string   `yaml:"name"`
			Actions []string `yaml:"actions"`
		}
		if err := decode(body, &allow); err != nil {
			return nil, err
		}
		return nil, e.Allow(allow.Name, allow.Actions...)
	case "GET /_emulator/key":
		return e.Key(query.Get("region"), query.Get("id"))
	case "POST /_emulator/key":
		return e.changeKey(body)
	case "GET /_emulator/occurrences":
		return e.Occurrences(e.instanceNamed(query.Get("instance"))), nil
	case "DELETE /_emulator/occurrences":
		e.ForgetOccurrences(e.instanceNamed(query.Get("instance")))
	case "GET /_emulator/failures":
		return e.SigningFailures(), nil
	default:
		return nil, failed(404, "NotFound", "there is no %s %s", r.Method, r.URL.Path)
	}
	return nil, nil
}

// changeKey changes a key's state, rotates it, or both.
func (e *Emulator) changeKey(body []byte) (any, error) {
	var change struct {
		Region string `yaml:"region"`
		ID     string `yaml:"id"`
		State  string `yaml:"state"`
		Rotate bool   `yaml:"rotate"`
	}
	if err := decode(body, &change); err != nil {
		return nil, err
	}
	if change.State != "" {
		if err := e.SetKeyState(change.Region, change.ID, change.State); err != nil {
			return nil, err
		}
	}
	if change.Rotate {
		if _, err := e.AddKeyVersion(change.Region, change.ID); err != nil {
			return nil, err
		}
	}
	return e.Key(change.Region, change.ID)
}
