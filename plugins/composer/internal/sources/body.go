package sources

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/blueprint"
	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
)

var idForm = regexp.MustCompile(`\A[a-zA-Z0-9_.:+-]{1,200}\z`)

// FromTOML reads a source as a client sends it: a table, or tables titled by
// id, of which the first by id counts.
func FromTOML(text string, version int) (solve.Source, error) {
	table, err := blueprint.FromTOML(text)
	if err != nil {
		return solve.Source{}, fault.New(fault.ProjectsError, "%v", err)
	}
	if id, inner, ok := titled(table); ok {
		inner = maps.Clone(inner)
		key := "id"
		if version == 0 {
			key = "name"
		}
		if _, has := inner[key]; !has {
			inner[key] = id
		}
		table = inner
	}
	return decode(table, version)
}

// titled finds the form that has nothing but tables.
func titled(table map[string]any) (id string, inner map[string]any, ok bool) {
	for _, v := range table {
		if _, isTable := v.(map[string]any); !isTable {
			return "", nil, false
		}
	}
	for _, id := range slices.Sorted(maps.Keys(table)) {
		return id, table[id].(map[string]any), true
	}
	return "", nil, false
}

// FromJSON reads a source as a client sends it.
func FromJSON(data []byte, version int) (solve.Source, error) {
	table, err := blueprint.FromJSON(data)
	if err != nil {
		return solve.Source{}, fault.New(fault.ProjectsError, "%v", err)
	}
	return decode(table, version)
}

// decode checks the fields. In version 0 the name is the identifier.
func decode(table map[string]any, version int) (solve.Source, error) {
	s := solve.Source{}
	var problems []string
	text := func(key string, to *string, required bool) {
		v, ok := table[key]
		if !ok {
			if required {
				problems = append(problems, "'"+key+"' field is missing from request.")
			}
			return
		}
		if *to, ok = v.(string); !ok {
			problems = append(problems, "'"+key+"' must be a string.")
		} else if required && *to == "" {
			problems = append(problems, "'"+key+"' must not be empty.")
		}
	}
	flag := func(key string, to *bool) {
		if v, ok := table[key]; ok {
			if *to, ok = v.(bool); !ok {
				problems = append(problems, "'"+key+"' must be true or false.")
			}
		}
	}
	text("name", &s.Name, version == 0)
	if version == 0 {
		s.ID = s.Name
	} else {
		if _, ok := table["id"]; !ok {
			return s, fault.New(fault.UnknownSource, "'id' field is missing from API v1 request.")
		}
		text("id", &s.ID, true)
		if s.Name == "" {
			s.Name = s.ID
		}
	}
	text("type", &s.Type, true)
	text("url", &s.URL, true)
	text("proxy", &s.Proxy, false)
	flag("check_ssl", &s.CheckSSL)
	flag("check_gpg", &s.CheckGPG)
	for _, key := range []string{"gpgkey_urls", "gpgkeys"} {
		v, ok := table[key]
		if !ok || s.GPGKeyURLs != nil {
			continue
		}
		list, ok := v.([]any)
		for _, e := range list {
			key, isText := e.(string)
			ok = ok && isText
			s.GPGKeyURLs = append(s.GPGKeyURLs, key)
		}
		if !ok {
			problems = append(problems, "'"+key+"' must be a list of strings.")
		}
	}
	if n, ok := table["priority"].(int64); ok && n >= 0 && n < 1000 {
		s.Priority = int(n)
	} else if _, set := table["priority"]; set {
		problems = append(problems, "'priority' must be a number from 0 to 999.")
	}
	if s.Type != "" && !slices.Contains([]string{solve.BaseURL, solve.MirrorList, solve.Metalink}, s.Type) {
		problems = append(problems, s.Type+" is not a valid type: use "+solve.BaseURL+", "+solve.MirrorList+" or "+solve.Metalink+".")
	}
	if s.URL != "" && !isURL(s.URL) {
		problems = append(problems, "'url' must be an address of http, https or file.")
	}
	if s.Proxy != "" && (!isURL(s.Proxy) || strings.HasPrefix(s.Proxy, "file:")) {
		problems = append(problems, "'proxy' must be an address of http or https.")
	}
	for _, key := range s.GPGKeyURLs {
		if !isURL(key) {
			problems = append(problems, "'gpgkey_urls' must be addresses of http, https or file.")
			break
		}
	}
	if len(problems) > 0 {
		return s, fault.New(fault.ProjectsError, "Problem parsing POST data: %s", strings.Join(problems, " "))
	}
	if !idForm.MatchString(s.ID) {
		return s, fault.New(fault.InvalidChars, "Invalid characters in source %q", s.ID)
	}
	return s, nil
}

// isURL tells whether a text is an address that a source may have.
func isURL(s string) bool {
	if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host != ""
	case "file":
		return u.Host == "" && strings.HasPrefix(u.Path, "/")
	}
	return false
}

// CheckSystem checks a source of the configuration as one that a client sends.
func CheckSystem(s solve.Source) error {
	table := map[string]any{
		"id": s.ID, "name": s.Name, "type": s.Type, "url": s.URL, "priority": int64(s.Priority),
	}
	if s.Proxy != "" {
		table["proxy"] = s.Proxy
	}
	keys := []any{}
	for _, key := range s.GPGKeyURLs {
		keys = append(keys, key)
	}
	table["gpgkey_urls"] = keys
	_, err := decode(table, 1)
	return err
}
