package alicloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

const (
	maxPages = 1000
	maxItems = 50_000
	// maxList bounds a list in bytes of JSON.
	maxList = 64 << 20
)

// listing is a list that comes in pages.
type listing struct {
	call
	// number is the parameter with the page's number, and size that of PageSize.
	number string
	size   int
	// page takes an answer apart; total is negative if the answer does not tell.
	page func(object) (items []json.RawMessage, total int, err error)
	// item takes one item over and returns what tells it from the others; empty: nothing does.
	item func(object) (key string, err error)
}

// all asks for every page. The list is complete, or there is an error: what is missing from a list of policies
// would be taken for deleted. partial lists, for which item was called, must be thrown away with an error.
func (c *Client) all(ctx context.Context, l listing) error {
	seen, total, count, size := map[string]bool{}, -1, 0, 0
	changed := func(text string) error {
		return &Error{Kind: Unavailable, Service: l.service.name, Action: l.action, Text: "the list is not consistent: " + text + "; it may have changed while it was read"}
	}
	for page := 1; page <= maxPages; page++ {
		what := l.call
		what.parameters = map[string]string{l.number: strconv.Itoa(page), "PageSize": strconv.Itoa(l.size)}
		for k, v := range l.parameters {
			what.parameters[k] = v
		}
		o, failed := c.ask(ctx, what)
		if failed != nil {
			return failed
		}
		items, n, err := l.page(o)
		if err != nil {
			return l.service.unfit(l.action, "the answer cannot be understood: "+bounded(err.Error()))
		}
		if total >= 0 && n != total {
			return changed(fmt.Sprintf("it had %d entries and then %d", total, n))
		}
		total = n
		if count += len(items); count > maxItems || total > maxItems {
			return l.service.unfit(l.action, fmt.Sprintf("there are more than %d entries: remove some", maxItems))
		}
		for _, raw := range items {
			if size += len(raw); size > maxList {
				return l.service.unfit(l.action, fmt.Sprintf("the list is larger than %d MiB: remove entries", maxList>>20))
			}
			o, err := parseObject(raw)
			key := ""
			if err == nil {
				key, err = l.item(o)
			}
			if err != nil {
				return l.service.unfit(l.action, fmt.Sprintf("entry %s of page %d cannot be understood: %s", quoted(key), page, bounded(err.Error())))
			}
			if key != "" && seen[key] {
				return changed(quoted(key) + " is in it twice")
			}
			seen[key] = true
		}
		switch {
		case total >= 0 && count > total:
			return changed(fmt.Sprintf("it has %d entries of %d", count, total))
		case count == total, total < 0 && len(items) < l.size:
			return nil
		case len(items) == 0:
			return changed(fmt.Sprintf("it has %d entries of %d", count, total))
		}
	}
	return l.service.unfit(l.action, fmt.Sprintf("there are more than %d pages: remove entries", maxPages))
}

// itemsOf takes a list of that name and its total apart; where is the object with TotalCount.
func itemsOf(o, where object, name string) ([]json.RawMessage, int, error) {
	total, told, err := where.count("TotalCount")
	if err != nil {
		return nil, 0, err
	}
	if !told {
		return nil, 0, fmt.Errorf("it has no TotalCount")
	}
	items, found, err := o.list(name)
	if err == nil && !found && total > 0 {
		err = fmt.Errorf("it has no %s", name)
	}
	return items, total, err
}
