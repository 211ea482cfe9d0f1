package alicloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// object is a JSON object as a service sent it. Its methods accept what was seen in documents and answers: the first
// letter of a name in either case, numbers and switches as texts, objects and lists as texts that hold JSON.
type object map[string]json.RawMessage

func parseObject(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, errors.New("it is not a JSON object")
	}
	return o, nil
}

// raw returns a member; nil if it is absent or null. Two spellings that disagree are an error.
func (o object) raw(name string) (json.RawMessage, error) {
	upper, lower := present(o[name]), present(o[strings.ToLower(name[:1])+name[1:]])
	switch {
	case upper == nil:
		return lower, nil
	case lower != nil && string(lower) != string(upper):
		return nil, fmt.Errorf("%s is there twice with different values", name)
	default:
		return upper, nil
	}
}

func present(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// text returns a text member, or what a number or switch is written as; empty if it is absent.
func (o object) text(name string) (string, error) {
	raw, err := o.raw(name)
	if err != nil || raw == nil {
		return "", err
	}
	switch raw[0] {
	case '"':
		var s string
		err = json.Unmarshal(raw, &s)
		return s, err
	case '{', '[':
		return "", fmt.Errorf("%s is not a text", name)
	default:
		return string(raw), nil
	}
}

// count returns a number that is not negative, and whether it is there.
func (o object) count(name string) (int, bool, error) {
	s, err := o.text(name)
	if err != nil || s == "" {
		return 0, false, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("%s is %s and must be a number", name, quoted(s))
	}
	return n, true, nil
}

// flag returns a switch, and whether it is there.
func (o object) flag(name string) (on, found bool, err error) {
	s, err := o.text(name)
	if err != nil || s == "" {
		return false, false, err
	}
	on, err = strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, false, fmt.Errorf("%s is %s and must be true or false", name, quoted(s))
	}
	return on, true, nil
}

// child returns an object, and whether it is there.
func (o object) child(name string) (object, bool, error) {
	raw, err := o.unwrapped(name)
	if err != nil || raw == nil {
		return nil, false, err
	}
	c, err := parseObject(raw)
	if err != nil {
		return nil, false, fmt.Errorf("%s is not an object", name)
	}
	return c, true, nil
}

// list returns a list, and whether it is there.
func (o object) list(name string) ([]json.RawMessage, bool, error) {
	raw, err := o.unwrapped(name)
	if err != nil || raw == nil {
		return nil, false, err
	}
	var l []json.RawMessage
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, false, fmt.Errorf("%s is not a list", name)
	}
	return l, true, nil
}

// texts returns a list of texts; empty if it is absent.
func (o object) texts(name string) ([]string, error) {
	items, _, err := o.list(name)
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(items))
	for _, raw := range items {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return nil, fmt.Errorf("%s holds what is not a text", name)
		}
		texts = append(texts, *s)
	}
	return texts, nil
}

// unwrapped returns a member, or the JSON in it if it is a text.
func (o object) unwrapped(name string) (json.RawMessage, error) {
	raw, err := o.raw(name)
	if err != nil || raw == nil || raw[0] != '"' {
		return raw, err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s is not a text", name)
	}
	return present(json.RawMessage(strings.TrimSpace(s))), nil
}
