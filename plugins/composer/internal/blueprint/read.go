package blueprint

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/BurntSushi/toml"

	"github.com/iib-engine/iib/plugins/composer/internal/fault"
)

// ParseTOML reads a blueprint and checks it. All errors have an id.
func ParseTOML(text string) (*Blueprint, error) {
	table, err := FromTOML(text)
	if err != nil {
		return nil, fault.New(fault.BlueprintsError, "%v", err)
	}
	return build(table)
}

// ParseJSON reads a blueprint and checks it. All errors have an id.
func ParseJSON(data []byte) (*Blueprint, error) {
	object, err := FromJSON(data)
	if err != nil {
		return nil, fault.New(fault.BlueprintsError, "%v", err)
	}
	return build(object)
}

// build makes the normal form of a table.
func build(table map[string]any) (*Blueprint, error) {
	if list, ok := table["customizations"].([]any); ok {
		delete(table, "customizations")
		if len(list) > 0 {
			table["customizations"] = list[0]
		}
	}
	if problems := check(table); len(problems) > 0 {
		return nil, fault.New(fault.BlueprintsError, "%s", joined(problems))
	}
	b := &Blueprint{
		Name: text(table["name"]), Description: text(table["description"]), Version: text(table["version"]),
		Distro: text(table["distro"]), Arch: text(table["arch"]),
		Packages: packages(table["packages"]), Modules: packages(table["modules"]),
	}
	for _, entry := range entries(table["groups"]) {
		b.Groups = append(b.Groups, Group{text(entry["name"])})
	}
	if c, ok := table["customizations"].(map[string]any); ok && len(c) > 0 {
		b.Customizations = c
	}
	if r, ok := table["repos"].(map[string]any); ok {
		for _, entry := range entries(r["git"]) {
			b.Repos = append(b.Repos, Repo{
				RPMName: text(entry["rpmname"]), RPMVersion: text(entry["rpmversion"]), RPMRelease: text(entry["rpmrelease"]),
				Summary: text(entry["summary"]), Repo: text(entry["repo"]), Ref: text(entry["ref"]), Destination: text(entry["destination"]),
			})
		}
	}
	if c, ok := table["containers"].([]any); ok && len(c) > 0 {
		b.Containers = c
	}
	b.tidy()
	// What can be kept must be readable again.
	written, err := b.encode()
	if err == nil {
		var again map[string]any
		if again, err = FromTOML(written); err == nil && !same(again["customizations"], orNil(b.Customizations)) {
			err = errors.New("the customizations cannot be written as TOML")
		}
	}
	if err != nil {
		return nil, fault.New(fault.BlueprintsError, "%v", err)
	}
	return b, nil
}

func orNil(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func packages(v any) []Package {
	var list []Package
	for _, entry := range entries(v) {
		list = append(list, Package{text(entry["name"]), text(entry["version"])})
	}
	return list
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// entries are the tables of a list.
func entries(v any) []map[string]any {
	list, _ := v.([]any)
	var tables []map[string]any
	for _, entry := range list {
		table, _ := entry.(map[string]any)
		tables = append(tables, table)
	}
	return tables
}

// TOML writes the normal form.
func (b *Blueprint) TOML() string {
	text, err := b.encode()
	if err != nil {
		panic(fmt.Sprintf("blueprint %s: %v", b.Name, err)) // build has tried it
	}
	return text
}

func (b *Blueprint) encode() (string, error) {
	var out bytes.Buffer
	encoder := toml.NewEncoder(&out)
	encoder.Indent = ""
	err := encoder.Encode(struct {
		Name           string         `toml:"name"`
		Description    string         `toml:"description"`
		Version        string         `toml:"version,omitempty"`
		Distro         string         `toml:"distro,omitempty"`
		Arch           string         `toml:"arch,omitempty"`
		Packages       []Package      `toml:"packages"`
		Modules        []Package      `toml:"modules"`
		Groups         []Group        `toml:"groups"`
		Containers     []any          `toml:"containers,omitempty"`
		Customizations map[string]any `toml:"customizations,omitempty"`
		Repos          *repos         `toml:"repos,omitempty"`
	}{
		b.Name, b.Description, b.Version, b.Distro, b.Arch, listed(b.Packages), listed(b.Modules), listed(b.Groups),
		b.Containers, b.Customizations, b.repos(),
	})
	return out.String(), err
}
