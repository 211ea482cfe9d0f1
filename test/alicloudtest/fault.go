package alicloudtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

// What can go wrong.
const (
	InternalError    FaultKind = "InternalError"    // HTTP 500 and an error of the service
	Unavailable      FaultKind = "Unavailable"      // HTTP 503
	Hang             FaultKind = "Hang"             // no answer until the client goes away
	Drip             FaultKind = "Drip"             // the right answer, a byte every Interval
	Throttle         FaultKind = "Throttle"         // Throttling.User, from KMS Rejected.Throttling
	Garbage          FaultKind = "Garbage"          // bytes that are no JSON, with status 200
	HTML             FaultKind = "HTML"             // a page of a proxy, with status 200
	Truncate         FaultKind = "Truncate"         // half of the right answer, the connection cut
	Empty            FaultKind = "Empty"            // a listing without items, which says there are none
	LosePage         FaultKind = "LosePage"         // a listing without its last page, which says how many there should be
	NonStringCode    FaultKind = "NonStringCode"    // an error whose Code is a number
	WrongContentType FaultKind = "WrongContentType" // the right answer as text/html
	Reset            FaultKind = "Reset"            // the connection is reset before an answer
)

// faultKinds are all of them.
func faultKinds() []FaultKind {
	return []FaultKind{InternalError, Unavailable, Hang, Drip, Throttle, Garbage, HTML, Truncate, Empty, LosePage, NonStringCode, WrongContentType, Reset}
}

// Fault is something that goes wrong on demand.
type Fault struct {
	// Service and Action choose requests as in [Call]; empty: all.
	Service string    `json:"service" yaml:"service"`
	Action  string    `json:"action" yaml:"action"`
	Kind    FaultKind `json:"kind" yaml:"kind"`
	// Times is how many requests it strikes; 0: all until it is cleared.
	Times int `json:"times" yaml:"times"`
	// Interval is between the bytes of Drip; 0: a second.
	Interval time.Duration `json:"interval,omitempty" yaml:"interval,omitempty"`

	id int
}

// Break injects a fault and returns what repairs it. Of several faults that fit the oldest strikes.
func (e *Emulator) Break(fault Fault) (repair func(), err error) {
	if !slices.Contains(faultKinds(), fault.Kind) {
		return nil, fmt.Errorf("there is no fault %q: choose one of %v", fault.Kind, faultKinds())
	}
	if fault.Interval == 0 {
		fault.Interval = time.Second
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lastFault++
	fault.id = e.lastFault
	e.faults = append(e.faults, &fault)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.faults = slices.DeleteFunc(e.faults, func(f *Fault) bool { return f.id == fault.id })
	}, nil
}

// Repair clears all faults. Requests that hang already go on hanging.
func (e *Emulator) Repair() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = nil
}

// Faults lists the faults that are in force, with the strikes they have left.
func (e *Emulator) Faults() []Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []Fault{}
	for _, fault := range e.faults {
		list = append(list, *fault)
	}
	return list
}

// nextFault is what strikes a request, or nil.
func (e *Emulator) nextFault(service, action string) *Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, fault := range e.faults {
		if fault.Service != "" && fault.Service != service || fault.Action != "" && fault.Action != action {
			continue
		}
		strikes := *fault
		if fault.Times == 1 {
			e.faults = slices.Delete(e.faults, i, i+1)
		} else if fault.Times > 1 {
			fault.Times--
		}
		return &strikes
	}
	return nil
}

// early tells whether a fault needs no answer, and which status it sends then; 0: none.
func (f *Fault) early(s service) (status int, ok bool) {
	switch f.Kind {
	case Hang, Reset:
		return 0, true
	case InternalError:
		return http.StatusInternalServerError, true
	case Unavailable:
		return http.StatusServiceUnavailable, true
	case Throttle:
		if s == kms {
			return http.StatusTooManyRequests, true
		}
		return http.StatusBadRequest, true
	case NonStringCode:
		return http.StatusBadRequest, true
	case Garbage, HTML:
		return http.StatusOK, true
	}
	return 0, false
}

// failEarly acts out the faults that need no answer, and tells whether the request is done with. It is counted before, for
// some of them never end.
func (e *Emulator) failEarly(w http.ResponseWriter, r *http.Request, fault *Fault, s service, counted Call) bool {
	if fault == nil {
		return false
	}
	status, ok := fault.early(s)
	if !ok {
		return false
	}
	counted.Status, counted.Code = status, string(fault.Kind)
	e.count(counted)
	refuse := func(code, message string) response {
		return jsonResponse(status, failed(status, code, "%s", message).body(s, r.Host, newRequestID()))
	}
	var out response
	switch fault.Kind {
	case Hang:
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxRequest)) // the server sees that a client goes only after its body
		select {
		case <-r.Context().Done():
		case <-e.stopped:
		}
		panic(http.ErrAbortHandler) // no answer at all
	case Reset:
		reset(w)
		return true
	case InternalError:
		out = refuse("InternalError", "The request processing has failed due to some unknown error.")
	case Unavailable:
		out = refuse("ServiceUnavailable", "The request has failed due to a temporary failure of the server.")
	case Throttle:
		out = refuse("Throttling.User", "Request was denied due to user flow control.")
		if s == kms {
			out = refuse("Rejected.Throttling", "QPS Limit Exceeded")
		}
	case NonStringCode:
		body := failed(status, "", "Something is wrong.").body(s, r.Host, newRequestID())
		body["Code"] = status
		out = jsonResponse(status, body)
	case Garbage:
		out = response{status, "application/json;charset=utf-8", []byte("\x00\x01{]\xff garbage")}
	case HTML:
		out = response{status, "text/html", []byte("<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>")}
	}
	e.write(w, r, out, nil)
	return true
}

// write sends an answer, spoilt by a fault.
func (e *Emulator) write(w http.ResponseWriter, r *http.Request, out response, fault *Fault) {
	kind := FaultKind("")
	if fault != nil {
		kind = fault.Kind
	}
	if kind == WrongContentType {
		out.contentType = "text/html"
	}
	w.Header().Set("Content-Type", out.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(out.body)))
	w.WriteHeader(out.status)
	switch kind {
	case Truncate:
		_, _ = w.Write(out.body[:len(out.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // less than Content-Length said
	case Drip:
		e.drip(w, r, out.body, fault.Interval)
	default:
		_, _ = bytes.NewReader(out.body).WriteTo(w)
	}
}

func (e *Emulator) drip(w http.ResponseWriter, r *http.Request, body []byte, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range body {
		if _, err := w.Write(body[i : i+1]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-e.stopped:
			return
		}
	}
}

// reset closes the connection without an answer: with unread or unsent data TCP says RST, otherwise the client sees its end.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if raw, ok := connection.(interface{ SetLinger(int) error }); ok {
		_ = raw.SetLinger(0)
	}
	_ = connection.Close()
}
