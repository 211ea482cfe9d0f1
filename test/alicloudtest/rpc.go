package alicloudtest

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// maxRequest bounds a request's form.
const maxRequest = 1 << 20

// serveServices serves the RPC style and, below /_emulator/, ourselves.
func (e *Emulator) serveServices(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_emulator/") {
		e.serveAdmin(w, r)
		return
	}
	requestID := newRequestID()
	parameters, refused := readParameters(r)
	c := &call{e: e, service: versions()[parameters["Version"]], action: parameters["Action"], parameters: parameters}
	c.region = e.regionOf(r.Host, parameters["RegionId"])
	counted := e.describe(c)

	fault := e.nextFault(string(c.service), c.action)
	if e.failEarly(w, r, fault, c.service, counted) {
		return
	}
	if fault != nil {
		c.empty, c.lose = fault.Kind == Empty, fault.Kind == LosePage
	}
	var answer object
	if refused == nil {
		answer, refused = e.answer(r.Method, r.URL.Path, c)
	}
	var out response
	if refused != nil {
		out = jsonResponse(refused.Status, refused.body(c.service, r.Host, requestID))
		counted.Status, counted.Code = refused.Status, refused.Code
	} else {
		answer["RequestId"] = requestID
		out = jsonResponse(http.StatusOK, answer)
		counted.Status = http.StatusOK
	}
	e.count(counted) // before the answer, so that who has the answer sees the count
	e.write(w, r, out, fault)
}

// readParameters reads query and form. A parameter that comes twice is refused: what would have been signed is unclear.
func readParameters(r *http.Request) (map[string]string, *apiError) {
	parameters := map[string]string{}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return parameters, failed(404, "UnsupportedHTTPMethod", "This http method is not supported.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequest))
	if err != nil {
		return parameters, failed(400, "InvalidParameter", "The body cannot be read or is too large.")
	}
	texts := []string{r.URL.RawQuery}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		texts = append(texts, string(body))
	}
	var refused *apiError
	for _, text := range texts {
		values, err := url.ParseQuery(text)
		if err != nil {
			refused = failed(400, "InvalidParameter", "The parameters are not URL-encoded.")
		}
		for name, list := range values {
			if _, twice := parameters[name]; twice || len(list) > 1 {
				refused = failed(400, "InvalidParameter", "The specified parameter %q is given twice.", name)
			}
			parameters[name] = list[0]
		}
	}
	return parameters, refused
}

// regionInHost finds the region in a name like kms-vpc.cn-hangzhou.aliyuncs.com.
var regionInHost = regexp.MustCompile(`^[a-z-]+\.([a-z]{2}-[a-z0-9-]+)\.`)

// regionOf tells the region of a request: the endpoint's name says it or, as here all have one address, RegionId.
func (e *Emulator) regionOf(host, said string) string {
	if found := regionInHost.FindStringSubmatch(host); found != nil {
		return found[1]
	}
	if said != "" {
		return said
	}
	return e.options.Region
}

// answer authenticates, allows and does an action.
func (e *Emulator) answer(method, path string, c *call) (object, *apiError) {
	switch {
	case path != "/" && path != "":
		return nil, failed(404, "InvalidApi.NotFound", "Specified api is not found, please check your url and method.")
	case c.param("Version") == "":
		return nil, failed(400, "MissingVersion", "Version is mandatory for this action.")
	case c.action == "":
		return nil, failed(400, "MissingAction", "Action is mandatory for this action.")
	case c.service == "":
		return nil, failed(400, "NoSuchVersion", "Specified version is not found.")
	}
	todo, ok := actions()[c.service][c.action]
	if !ok {
		return nil, failed(404, "InvalidApi.NotFound", "Specified api is not found, please check your url and method.")
	}
	if c.param("Format") != "JSON" {
		return nil, failed(400, "InvalidParameter.Format", "Specified parameter format is not valid. (This emulator speaks JSON only.)")
	}
	if todo.ram != "" {
		caller, refused := e.authenticate(method, c.parameters)
		if refused != nil {
			return nil, refused
		}
		if !e.allowed(caller, todo.ram) {
			return nil, denied(c.service, todo.ram, caller)
		}
	}
	for _, name := range todo.required {
		if c.param(name) == "" {
			return nil, failed(400, "Missing"+name, "%s is mandatory for this action.", name)
		}
	}
	if !e.options.LenientParameters {
		for name := range c.parameters {
			if !slices.Contains(commonParameters(), name) && !slices.Contains(todo.required, name) && !slices.Contains(todo.optional, name) {
				return nil, failed(400, "UnsupportedParameter", "The parameter %q is not supported.", name)
			}
		}
	}
	if refused := e.throttle(c); refused != nil {
		return nil, refused
	}
	return todo.handle(c)
}

// denied is RAM's refusal in a service's own words.
func denied(s service, ram string, caller *principal) *apiError {
	refused := failed(403, "NoPermission", "caller has no permission: %s is not authorized to perform %s.", caller.name, ram)
	if s == kms {
		refused.Code = "Forbidden.NoPermission"
	}
	refused.Denied = ram
	return refused
}
