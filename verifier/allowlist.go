package verifier

import "time"

// allowEntry is one pattern of an allow-list, or of a policy.
type allowEntry struct {
	// object is the list or policy that the entry belongs to.
	object    string
	text      string
	pattern   Pattern
	namespace string
	expires   time.Time
	reason    string
}

// covers says whether the entry holds for the name at that moment. A caller without a clock gets no pattern that ends.
func (e allowEntry) covers(req Request, inFloor bool) bool {
	if !e.expires.IsZero() && (req.Now.IsZero() || !req.Now.Before(e.expires)) {
		return false
	}
	here := e.namespace == "" || e.namespace == req.Namespace || inFloor && MatchNamespace(e.namespace, req.Namespace)
	return here && e.pattern.Match(req.Image)
}

func (c *compiler) compileAllowlist(specs []AllowSpec) []allowEntry {
	var entries []allowEntry
	positions := map[string]int{}
	for _, spec := range specs {
		object := objectName(kindAllowlist, "", spec.List)
		field := index("patterns", positions[spec.List], "")
		positions[spec.List]++
		entry, ok := c.compilePattern(object, field, spec.Pattern)
		if c.floor && spec.Namespace != "" && checkNamespacePattern(spec.Namespace) != nil {
			c.problem(object, field+".namespace", CodeNamespaceInvalid, errNamespacePattern)
			ok = false
		}
		if !ok {
			continue
		}
		entry.namespace, entry.expires, entry.reason = spec.Namespace, spec.Expires, spec.Reason
		entries = append(entries, entry)
	}
	return entries
}

func (c *compiler) compilePattern(object, field, text string) (allowEntry, bool) {
	pattern, err := ParsePattern(text)
	if err != nil {
		c.problem(object, field, CodePatternInvalid, err.Error())
		return allowEntry{}, false
	}
	return allowEntry{object: object, text: text, pattern: pattern}, true
}
