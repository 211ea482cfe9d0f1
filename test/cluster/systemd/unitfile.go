package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// unit is what matters of a unit file.
type unit struct {
	path string
	// text is the file as it was loaded.
	text string
	// problem makes the load state bad-setting.
	problem error

	kind             string // Type=
	command          []string
	environment      []string
	environmentFiles []string
	always           bool // Restart=always
	restartAfter     time.Duration
	startLimit       time.Duration
	stopLimit        time.Duration
	runtimeDirectory string
	runtimeKept      bool
	wantedBy         []string
}

// parseUnit reads the text of a unit file. Directives that are not known are left alone, as systemd leaves them with a
// warning.
func parseUnit(path, text string) *unit {
	u := &unit{path: path, text: text, kind: "simple", restartAfter: 100 * time.Millisecond, startLimit: 90 * time.Second, stopLimit: 90 * time.Second}
	section := ""
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"), strings.HasPrefix(line, ";"):
			continue
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			u.problem = fmt.Errorf("%s:%d: missing '=' or section", path, number+1)
			continue
		}
		if err := u.set(section+strings.TrimSpace(key), strings.TrimSpace(value)); err != nil {
			u.problem = fmt.Errorf("%s:%d: %w", path, number+1, err)
		}
	}
	if u.problem == nil && len(u.command) == 0 {
		u.problem = errors.New("service has no ExecStart= setting")
	}
	return u
}

func (u *unit) set(key, value string) (err error) {
	switch key {
	case "[Service]Type":
		u.kind = value
	case "[Service]ExecStart":
		u.command, err = splitWords(value)
		if err == nil && (len(u.command) == 0 || !filepath.IsAbs(u.command[0])) {
			err = fmt.Errorf("executable path is not absolute: %s", value)
		}
	case "[Service]Environment":
		var words []string
		words, err = splitWords(value)
		u.environment = append(u.environment, words...)
	case "[Service]EnvironmentFile":
		u.environmentFiles = append(u.environmentFiles, value)
	case "[Service]Restart":
		u.always = value == "always"
	case "[Service]RestartSec":
		u.restartAfter, err = timeSpan(value)
	case "[Service]TimeoutStartSec":
		u.startLimit, err = timeSpan(value)
	case "[Service]TimeoutStopSec":
		u.stopLimit, err = timeSpan(value)
	case "[Service]RuntimeDirectory":
		u.runtimeDirectory = value
	case "[Service]RuntimeDirectoryPreserve":
		u.runtimeKept = value == "yes"
	case "[Install]WantedBy":
		u.wantedBy = append(u.wantedBy, strings.Fields(value)...)
	}
	return err
}

// timeSpan reads "500ms", "30s" and plain seconds.
func timeSpan(value string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	return time.ParseDuration(strings.ReplaceAll(value, "min", "m"))
}

// splitWords splits as systemd.syntax(7) says: quotes of both kinds around whole words, backslashes, %%.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			i++
			in = true
			word.WriteByte(line[i])
		case c == '%':
			if i++; i >= len(line) || line[i] != '%' {
				return nil, fmt.Errorf("specifier in %q: none is known here but %%%%", line)
			}
			in = true
			word.WriteByte('%')
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\'') && !in:
			quote, in = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				words = append(words, word.String())
			}
			in = false
			word.Reset()
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unbalanced quotes in %q", line)
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}

// expand returns the command line and the environment that a start of the unit has now. at is where files of the machine are.
func (u *unit) expand(at func(string) string) (args, environment []string, err error) {
	environment = append(environment, u.environment...)
	for _, file := range u.environmentFiles {
		path, optional := strings.CutPrefix(file, "-")
		data, err := os.ReadFile(at(path))
		if optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
				environment = append(environment, key+"="+strings.Trim(value, `"'`))
			}
		}
	}
	lookup := func(name string) string {
		for i := len(environment) - 1; i >= 0; i-- {
			if key, value, _ := strings.Cut(environment[i], "="); key == name {
				return value
			}
		}
		return ""
	}
	for _, word := range u.command {
		switch name, whole := strings.CutPrefix(word, "$"); {
		case strings.HasPrefix(word, "$$"), strings.Contains(word, "$$"):
			args = append(args, strings.ReplaceAll(word, "$$", "$"))
		case whole:
			args = append(args, strings.Fields(lookup(name))...)
		default:
			args = append(args, word)
		}
	}
	return args, environment, nil
}
