package customize

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

const (
	unitLinks = "/etc/systemd/system"
	longestAt = 255
)

var (
	unitDirs  = []string{unitLinks, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
	unitNames = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$`)
)

// unit is what a unit's file says of its installation.
type unit struct {
	name, path                                  string
	wantedBy, requiredBy, upheldBy, alias, also []string
	instance                                    string
}

// find looks a unit up as systemctl does.
func (a *Applier) find(name string) (*unit, error) {
	if !strings.Contains(path.Ext(name), ".") || !unitNames.MatchString(name) {
		if full := name + ".service"; unitNames.MatchString(full) {
			name = full
		}
	}
	if !unitNames.MatchString(name) || len(name) > longestAt {
		return nil, refuse("services", "%q is not the name of a unit", name)
	}
	files := []string{name}
	if prefix, instance, ok := strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "@"); ok && instance != "" {
		files = append(files, prefix+"@"+path.Ext(name))
	}
	for _, dir := range unitDirs {
		for _, file := range files {
			at := dir + "/" + file
			if target, err := a.Root.Readlink(at); err == nil {
				if target == "/dev/null" {
					return nil, refuse("services", "the unit %s is masked in the image", name)
				}
				// An alias is enabled under the name of what it stands for.
				if base := path.Base(target); base != file && unitNames.MatchString(base) {
					file, at = base, path.Join(path.Dir(at), target)
					if path.IsAbs(target) {
						at = target
					}
					name = base
				}
			}
			content, err := a.Root.ReadFile(at)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			u := parseUnit(string(content))
			u.name, u.path = name, at
			return u, nil
		}
	}
	return nil, refuse("services", "there is no unit %s in the image: no installed package brings it", name)
}

// parseUnit reads the install section.
func parseUnit(text string) *unit {
	u := &unit{}
	section := ""
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			section = line
			continue
		case section != "[Install]":
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values := strings.Fields(value)
		add := func(to *[]string) {
			if len(values) == 0 {
				*to = nil
			}
			*to = append(*to, values...)
		}
		switch strings.TrimSpace(key) {
		case "WantedBy":
			add(&u.wantedBy)
		case "RequiredBy":
			add(&u.requiredBy)
		case "UpheldBy":
			add(&u.upheldBy)
		case "Alias":
			add(&u.alias)
		case "Also":
			add(&u.also)
		case "DefaultInstance":
			u.instance = strings.TrimSpace(value)
		}
	}
	return u
}

func (a *Applier) services(b *Blueprint) error {
	for _, name := range b.Services.Enabled {
		if err := a.enable(name, make(map[string]bool), true); err != nil {
			return err
		}
	}
	for _, name := range b.Services.Disabled {
		if err := a.disable(name); err != nil {
			return err
		}
	}
	return nil
}

func (a *Applier) enable(name string, seen map[string]bool, asked bool) error {
	u, err := a.find(name)
	if err != nil {
		return err
	}
	if seen[u.name] {
		return nil
	}
	seen[u.name] = true
	// A template that is enabled as such runs under its default instance.
	linked := u.name
	if prefix, rest, ok := strings.Cut(u.name, "@."); ok {
		if u.instance == "" && len(u.wantedBy)+len(u.requiredBy) > 0 {
			return refuse("services", "%s is a template without a default instance: name an instance, as in %s@NAME.%s", u.name, prefix, rest)
		}
		linked = prefix + "@" + u.instance + "." + rest
	}
	links := 0
	link := func(at string) error {
		links++
		return a.Root.Link(u.path, at)
	}
	for _, kind := range []struct {
		suffix string
		by     []string
	}{{"wants", u.wantedBy}, {"requires", u.requiredBy}, {"upholds", u.upheldBy}} {
		for _, by := range kind.by {
			by = expand(by, linked)
			// Units come from packages, and name what they like.
			if !unitNames.MatchString(by) {
				return refuse("services", "the unit %s is installed for %q, which is not the name of a unit", u.name, by)
			}
			if err := link(unitLinks + "/" + by + "." + kind.suffix + "/" + linked); err != nil {
				return err
			}
		}
	}
	for _, alias := range u.alias {
		alias = expand(alias, linked)
		if !unitNames.MatchString(alias) {
			return refuse("services", "the unit %s has the alias %q, which is not the name of a unit", u.name, alias)
		}
		if err := link(unitLinks + "/" + alias); err != nil {
			return err
		}
	}
	for _, also := range u.also {
		if err := a.enable(expand(also, linked), seen, false); err != nil {
			a.Warn("customizations.services: %s wants to be enabled with %s: %v", u.name, also, err)
		}
	}
	if links == 0 && asked && len(u.also) == 0 {
		a.Warn("customizations.services: %s says nothing of its installation, so enabling it changes nothing", u.name)
	}
	return nil
}

// expand replaces the specifiers that install sections use.
func expand(value, name string) string {
	stem := strings.TrimSuffix(name, path.Ext(name))
	prefix, instance, _ := strings.Cut(stem, "@")
	return strings.NewReplacer("%i", instance, "%I", instance, "%p", prefix, "%P", prefix, "%n", name, "%N", stem, "%%", "%").Replace(value)
}

// disable removes every link that enabling made, whoever has enabled it.
func (a *Applier) disable(name string) error {
	u, err := a.find(name)
	if err != nil {
		return err
	}
	entries, err := a.Root.ReadDir(unitLinks)
	if err != nil {
		return nil // nothing is enabled
	}
	stem, suffix, template := strings.Cut(u.name, "@.")
	isIt := func(link string) bool {
		return link == u.name || (template && strings.HasPrefix(link, stem+"@") && strings.HasSuffix(link, "."+suffix))
	}
	for _, e := range entries {
		at := unitLinks + "/" + e.Name()
		if e.Type()&fs.ModeSymlink != 0 {
			// An alias.
			if target, err := a.Root.Readlink(at); err == nil && isIt(path.Base(target)) {
				if err := a.Root.Remove(at); err != nil {
					return err
				}
			}
			continue
		}
		if !e.IsDir() || !(strings.HasSuffix(e.Name(), ".wants") || strings.HasSuffix(e.Name(), ".requires") || strings.HasSuffix(e.Name(), ".upholds")) {
			continue
		}
		links, err := a.Root.ReadDir(at)
		if err != nil {
			return err
		}
		for _, l := range links {
			if isIt(l.Name()) {
				if err := a.Root.Remove(at + "/" + l.Name()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
