package config

import (
	"reflect"
	"slices"
)

// Change is what differs between two configurations.
type Change struct {
	// Restart are settings, such as "server.listen", whose new value is not
	// used before the engine is started again.
	Restart []string
	// Settings are the other settings outside of the named blocks below.
	Settings []string

	// Plugins are those that are enabled: one that is switched on or off is
	// added or removed.
	Plugins       Names
	Queues        Names
	Users         Names
	Organizations Names
}

// Names are named blocks that differ. Each list is in the order of the new
// configuration, or of the old one for what was removed.
type Names struct {
	Added   []string
	Removed []string
	Changed []string
	// Reordered tells that those which stayed are in another order. For gates
	// that is the order in which they are asked.
	Reordered bool
}

// Empty reports whether nothing differs.
func (n Names) Empty() bool {
	return len(n.Added)+len(n.Removed)+len(n.Changed) == 0 && !n.Reordered
}

// Empty reports whether nothing differs.
func (c Change) Empty() bool {
	return len(c.Restart)+len(c.Settings) == 0 &&
		c.Plugins.Empty() && c.Queues.Empty() && c.Users.Empty() && c.Organizations.Empty()
}

// Diff compares two configurations by what they mean: neither comments and
// layout nor the way in which a value is written count. Binaries and other
// files are not looked at.
func Diff(before, after *Config) Change {
	was, is := before.revealed(), after.revealed()
	var c Change
	c.compareSettings("", was, is)
	slices.Sort(c.Restart)
	slices.Sort(c.Settings)
	c.Plugins = diffNames(enabled(before), enabled(after))
	c.Queues = diffNames(named(before.Queues), named(after.Queues))
	c.Users = diffNames(named(before.Users), named(after.Users))
	c.Organizations = diffNames(named(before.Organizations), named(after.Organizations))
	return c
}

// revealed returns the settings of the blocks that there is one of, by block.
func (c *Config) revealed() map[string]any {
	all := plain(reflect.ValueOf(c), "", true).(map[string]any)
	for _, list := range []string{"plugins", "queues", "users", "organizations"} {
		delete(all, list)
	}
	return all
}

func (c *Change) compareSettings(prefix string, was, is map[string]any) {
	names := make(map[string]bool)
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	for name := range names {
		path := name
		if prefix != "" {
			path = prefix + "." + name
		}
		inner, ok := was[name].(map[string]any)
		outer, ok2 := is[name].(map[string]any)
		switch {
		case (ok || ok2) && (ok || was[name] == nil) && (ok2 || is[name] == nil):
			c.compareSettings(path, inner, outer)
		case reflect.DeepEqual(was[name], is[name]):
		case restarts[path]:
			c.Restart = append(c.Restart, path)
		default:
			c.Settings = append(c.Settings, path)
		}
	}
}

// restarts are the settings that are read only once.
var restarts = func() map[string]bool {
	found := make(map[string]bool)
	var walk func(prefix string, s *Schema)
	walk = func(prefix string, s *Schema) {
		for _, a := range s.Attributes {
			if a.restart {
				found[prefix+a.Name] = true
			}
		}
		for i := range s.Blocks {
			walk(prefix+s.Blocks[i].Name+".", &s.Blocks[i].Schema)
		}
	}
	walk("", &language.Schema)
	return found
}()

// namedValue is a block with its content in comparable form.
type namedValue struct {
	name  string
	value any
}

func enabled(c *Config) []namedValue {
	var used []*Plugin
	for _, p := range c.Plugins {
		if p.Enabled {
			used = append(used, p)
		}
	}
	return named(used)
}

// named returns blocks with their contents.
func named[T any](blocks []*T) []namedValue {
	var values []namedValue
	for _, b := range blocks {
		content := plain(reflect.ValueOf(b), "", true).(map[string]any)
		values = append(values, namedValue{name: content["name"].(string), value: content})
	}
	return values
}

func diffNames(before, after []namedValue) Names {
	var n Names
	find := func(in []namedValue, name string) (any, bool) {
		for _, v := range in {
			if v.name == name {
				return v.value, true
			}
		}
		return nil, false
	}
	var stayed, stay []string
	for _, v := range before {
		if _, ok := find(after, v.name); ok {
			stayed = append(stayed, v.name)
		} else {
			n.Removed = append(n.Removed, v.name)
		}
	}
	for _, v := range after {
		old, ok := find(before, v.name)
		if !ok {
			n.Added = append(n.Added, v.name)
			continue
		}
		stay = append(stay, v.name)
		if !reflect.DeepEqual(old, v.value) {
			n.Changed = append(n.Changed, v.name)
		}
	}
	n.Reordered = !slices.Equal(stayed, stay)
	return n
}
