package alicloud

import (
	"net/netip"
	"strconv"
	"strings"
)

// The forms of names. No regular expressions: every process of a node would hold them, compiled, whether it asks the
// cloud or not.

// made is whether s is 1 to limit letters of the English alphabet, digits and characters of more.
func made(s, more string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune(more, r)
	})
}

// isRegion accepts names such as cn-hangzhou and cn-north-2-gov-1. They become part of host names.
func isRegion(s string) bool {
	return made(s, "-", 40) && strings.ToLower(s) == s && s[0] >= 'a' && strings.Contains(s, "-") && !strings.HasSuffix(s, "-") && !strings.Contains(s, "--")
}

// isKeyID accepts key-…, UUIDs and alias/….
func isKeyID(s string) bool {
	if rest, ok := strings.CutPrefix(s, "alias/"); ok {
		return made(rest, "/_-", 255)
	}
	if rest, ok := strings.CutPrefix(s, "key-"); ok {
		return made(rest, "-", 64)
	}
	return isUUID(s)
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		switch i {
		case 8, 13, 18, 23:
			if r != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
				return false
			}
		}
	}
	return true
}

// isVersion accepts IDs of key versions, which are UUIDs or like key IDs.
func isVersion(s string) bool { return made(s, "-", 64) }

// isRole accepts names of RAM roles. They become part of a path.
func isRole(s string) bool { return made(s, ".@_-", 64) && s != "." && s != ".." }

// isEndpoint accepts HOST and HOST:PORT; the host may hold "{region}" or be an IPv6 address in brackets.
func isEndpoint(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host = s[:i]
		if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && ip.Is6() && ip.Zone() == "" && strings.HasSuffix(inner, "]")
	}
	return made(strings.ReplaceAll(host, "{region}", "r"), ".-", 253)
}
