package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
)

// cursor walks JSON text that json.Valid has approved, which is what makes it short: every string, list and object is
// known to end. encoding/json would take "Containers" for "containers", the last of two members for both, and memory for
// every element of a list that somebody made long on purpose.
type cursor struct {
	data []byte
	pos  int
}

// field is a member that is read. read consumes exactly its value.
type field struct {
	name string
	read func() error
}

func (c *cursor) space() {
	for c.pos < len(c.data) && (c.data[c.pos] == ' ' || c.data[c.pos] == '\n' || c.data[c.pos] == '\r' || c.data[c.pos] == '\t') {
		c.pos++
	}
}

// next consumes white space, and returns the byte after it without consuming it.
func (c *cursor) next() byte {
	c.space()
	if c.pos < len(c.data) {
		return c.data[c.pos]
	}
	return 0
}

// take consumes the byte if it comes next.
func (c *cursor) take(b byte) bool {
	if c.next() != b {
		return false
	}
	c.pos++
	return true
}

// object reads the fields of an object, skips its other members, and refuses a field that is there twice. Null is an
// object without members.
func (c *cursor) object(fields ...field) error {
	if c.next() == 'n' {
		c.skip()
		return nil
	}
	if !c.take('{') {
		return errors.New(textNotObject)
	}
	var seen uint64 // a bit for each field; there are never more than a few
	for !c.take('}') {
		name, err := c.name()
		if err != nil {
			return err
		}
		c.take(':')
		known := false
		for i := range fields {
			if fields[i].name != string(name) {
				continue
			}
			if seen&(1<<i) != 0 {
				return textError(textTwice, fields[i].name)
			}
			seen, known = seen|1<<i, true
			if err := fields[i].read(); err != nil {
				return err
			}
		}
		if !known {
			c.skip()
		}
		c.take(',')
	}
	return nil
}

// list calls f at each element, which f consumes. Null is an empty list.
func (c *cursor) list(f func() error) error {
	if c.next() == 'n' {
		c.skip()
		return nil
	}
	if !c.take('[') {
		return errors.New(textNotList)
	}
	for !c.take(']') {
		if err := f(); err != nil {
			return err
		}
		c.take(',')
	}
	return nil
}

// name consumes the name of a member. The result is valid until the text changes.
func (c *cursor) name() ([]byte, error) {
	c.space()
	literal := c.raw()
	inner := literal[1 : len(literal)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	s, err := unquote(literal)
	return []byte(s), err
}

// text returns a field that is a string; null is the empty one.
func (c *cursor) text(name string, into *string) field {
	return field{name, func() error {
		switch c.next() {
		case 'n':
			c.skip()
			return nil
		case '"':
		default:
			return textError(textNotString, name)
		}
		literal := c.raw()
		if inner := literal[1 : len(literal)-1]; bytes.IndexByte(inner, '\\') < 0 {
			*into = string(inner)
			return nil
		}
		var err error
		*into, err = unquote(literal)
		return err
	}}
}

func unquote(literal []byte) (string, error) {
	var s string
	if err := json.Unmarshal(literal, &s); err != nil {
		return "", errors.New(textNotJSON)
	}
	return s, nil
}

// raw consumes a value and returns its text.
func (c *cursor) raw() []byte {
	c.space()
	begin := c.pos
	c.skip()
	return c.data[begin:c.pos]
}

// skip consumes a value. However deep it nests, this does not.
func (c *cursor) skip() {
	depth := 0
	for c.space(); c.pos < len(c.data); {
		switch c.data[c.pos] {
		case '"':
			c.skipString()
		case '{', '[':
			depth++
			c.pos++
		case '}', ']':
			depth--
			c.pos++
		case ',', ':', ' ', '\n', '\r', '\t':
			c.pos++ // only within what is skipped: a value begins with none of them
			continue
		default:
			c.skipLiteral()
		}
		if depth <= 0 {
			return
		}
	}
}

func (c *cursor) skipString() {
	for c.pos++; c.pos < len(c.data) && c.data[c.pos] != '"'; c.pos++ {
		if c.data[c.pos] == '\\' {
			c.pos++
		}
	}
	c.pos++
}

// skipLiteral consumes a number, true, false or null.
func (c *cursor) skipLiteral() {
	for c.pos < len(c.data) {
		switch c.data[c.pos] {
		case ',', ':', ' ', '\n', '\r', '\t', '}', ']', '{', '[', '"':
			return
		}
		c.pos++
	}
}
