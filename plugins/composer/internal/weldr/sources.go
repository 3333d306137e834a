package weldr

import (
	"bytes"
	"mime"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/iib-engine/iib/plugins/composer/internal/fault"
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/plugins/composer/internal/sources"
)

// source is the form of a source. Version 0 has no id.
type source struct {
	ID         string   `json:"id,omitempty" toml:"id,omitempty"`
	Name       string   `json:"name" toml:"name"`
	Type       string   `json:"type" toml:"type"`
	URL        string   `json:"url" toml:"url"`
	CheckSSL   bool     `json:"check_ssl" toml:"check_ssl"`
	CheckGPG   bool     `json:"check_gpg" toml:"check_gpg"`
	System     bool     `json:"system" toml:"system"`
	GPGKeyURLs []string `json:"gpgkey_urls,omitempty" toml:"gpgkey_urls,omitempty"`
	Proxy      string   `json:"proxy,omitempty" toml:"proxy,omitempty"`
}

func showSource(s solve.Source, version int) source {
	shown := source{s.ID, s.Name, s.Type, s.URL, s.CheckSSL, s.CheckGPG, s.System, s.GPGKeyURLs, s.Proxy}
	if version == 0 {
		shown.ID, shown.Name = "", s.ID
	}
	return shown
}

func (s *Server) listSources(c *call) error {
	all, err := s.Sources.All()
	if err != nil {
		return err
	}
	ids := []string{}
	for _, one := range all {
		ids = append(ids, one.ID)
	}
	return c.ok(struct {
		Sources []string `json:"sources"`
	}{ids})
}

func (s *Server) showSources(c *call) error {
	ids, err := c.names()
	if err != nil {
		return err
	}
	wantsTOML, err := c.wantsTOML()
	if err != nil {
		return err
	}
	all, err := s.Sources.All()
	if err != nil {
		return err
	}
	answer := struct {
		Sources map[string]source `json:"sources"`
		Errors  perName           `json:"errors"`
	}{make(map[string]source), perName{}}
	for _, id := range ids {
		if id == "*" {
			for _, one := range all {
				answer.Sources[one.ID] = showSource(one, c.version)
			}
			continue
		}
		i := slices.IndexFunc(all, func(one solve.Source) bool { return one.ID == id })
		if i < 0 {
			answer.Errors = append(answer.Errors, message{ID: fault.UnknownSource, Msg: id + " is not a valid source"})
			continue
		}
		answer.Sources[id] = showSource(all[i], c.version)
	}
	switch {
	case !wantsTOML:
		return c.ok(answer)
	case len(answer.Errors) > 0:
		return answer.Errors.refusal()
	}
	var out bytes.Buffer
	encoder := toml.NewEncoder(&out)
	encoder.Indent = ""
	if err := encoder.Encode(answer.Sources); err != nil {
		return err
	}
	return c.toml(out.String())
}

// maxSource bounds the body of a source.
const maxSource = 64 << 10

func (s *Server) saveSource(c *call) error {
	kind, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type"))
	data, err := c.body(maxSource, fault.ProjectsError)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return fault.New(fault.ProjectsError, "Missing source")
	}
	var sent solve.Source
	if kind == "text/x-toml" {
		sent, err = sources.FromTOML(string(data), c.version)
	} else {
		sent, err = sources.FromJSON(data, c.version)
	}
	if err != nil {
		return err
	}
	if err := s.Sources.Set(c.Context(), sent); err != nil {
		return err
	}
	return c.done()
}

func (s *Server) deleteSource(c *call) error {
	if !argument.MatchString(c.args[0]) {
		return errPath
	}
	if err := s.Sources.Delete(c.args[0]); err != nil {
		return err
	}
	return c.done()
}
