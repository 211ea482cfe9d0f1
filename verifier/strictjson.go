package verifier

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep signed statements may nest. Ours nest four deep.
const maxDepth = 32

// object is a JSON object whose members are found by their exact names. encoding/json would also take "Critical" for
// "critical", and the later of two for both.
type object map[string]any

// parseJSON reads one JSON text: UTF-8, no member twice in an object, nothing but white space around it.
func parseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errors.New(whyJSON)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return parseValue(d, maxDepth)
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, errors.New(whyJSON)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if depth == 0 {
		return nil, errors.New(whyDepth)
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			value, err := parseValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	members := object{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errors.New(whyJSON)
		}
		if _, twice := members[name]; twice {
			return nil, errors.New(whyDuplicate)
		}
		if members[name], err = parseValue(d, depth-1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return members, err
}

// only says whether v is an object that has no members but these.
func only(v any, names ...string) (object, bool) {
	o, ok := v.(object)
	if !ok {
		return nil, false
	}
	for name := range o {
		if !slices.Contains(names, name) {
			return nil, false
		}
	}
	return o, true
}

// text returns a member that must be a string.
func (o object) text(name string) (string, bool) {
	s, ok := o[name].(string)
	return s, ok
}

// decodeBase64 accepts the standard alphabet with padding, and one spelling of each value: Go's decoder alone would
// skip line ends.
func decodeBase64(s string) ([]byte, bool) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}
