package blueprint

import (
	"cmp"
	"maps"
	"slices"
)

// Difference is an entry of a diff; nil stands for what was not there.
type Difference struct {
	Old any `json:"old"`
	New any `json:"new"`
}

// Diff lists what differs, in the order of the contract (section 7).
func Diff(old, now *Blueprint) []Difference {
	d := differ{[]Difference{}}
	for _, field := range []struct{ title, old, now string }{
		{"Name", old.Name, now.Name}, {"Description", old.Description, now.Description}, {"Version", old.Version, now.Version},
	} {
		if field.old != field.now {
			d.add(field.title, orNull(field.old), orNull(field.now))
		}
	}
	name := func(e any) string {
		if p, ok := e.(Package); ok {
			return p.Name
		}
		return e.(Group).Name
	}
	d.entries("Module", anys(old.Modules), anys(now.Modules), name)
	d.entries("Package", anys(old.Packages), anys(now.Packages), name)
	d.entries("Group", anys(old.Groups), anys(now.Groups), name)
	d.customizations(old.Customizations, now.Customizations)
	d.entries("Repos.git", anys(old.Repos), anys(now.Repos), func(e any) string { return e.(Repo).RPMName })
	return d.list
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func anys[T any](list []T) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, v)
	}
	return out
}

type differ struct{ list []Difference }

// add notes a change of something that is there on both sides, if perhaps empty.
func (d *differ) add(title string, old, now any) {
	d.list = append(d.list, Difference{map[string]any{title: old}, map[string]any{title: now}})
}

// entries compares two lists by a key: the added, the removed, the changed.
func (d *differ) entries(title string, old, now []any, key func(any) string) {
	before, after := keyed(old, key), keyed(now, key)
	for _, k := range sortedKeys(after) {
		if _, ok := before[k]; !ok {
			for _, v := range after[k] {
				d.list = append(d.list, Difference{nil, map[string]any{title: v}})
			}
		}
	}
	for _, k := range sortedKeys(before) {
		if _, ok := after[k]; !ok {
			for _, v := range before[k] {
				d.list = append(d.list, Difference{map[string]any{title: v}, nil})
			}
		}
	}
	for _, k := range sortedKeys(after) {
		a, b := before[k], after[k]
		if a == nil {
			continue
		}
		for i := range max(len(a), len(b)) {
			switch {
			case i >= len(a):
				d.list = append(d.list, Difference{nil, map[string]any{title: b[i]}})
			case i >= len(b):
				d.list = append(d.list, Difference{map[string]any{title: a[i]}, nil})
			case !same(a[i], b[i]):
				d.add(title, a[i], b[i])
			}
		}
	}
}

// keyed collects a list by key: a list may have a name twice.
func keyed(list []any, key func(any) string) map[string][]any {
	m := make(map[string][]any)
	for _, v := range list {
		m[key(v)] = append(m[key(v)], v)
	}
	return m
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(folded(a, b), cmp.Compare(a, b)) })
}

func (d *differ) customizations(old, now map[string]any) {
	const title = "Customizations."
	for _, k := range sortedKeys(now) {
		if _, ok := old[k]; !ok {
			d.list = append(d.list, Difference{nil, map[string]any{title + k: now[k]}})
		}
	}
	for _, k := range sortedKeys(old) {
		if _, ok := now[k]; !ok {
			d.list = append(d.list, Difference{map[string]any{title + k: old[k]}, nil})
		}
	}
	for _, k := range sortedKeys(now) {
		before, ok := old[k]
		if !ok || same(before, now[k]) {
			continue
		}
		a, aOK := tables(before)
		b, bOK := tables(now[k])
		if !aOK || !bOK {
			d.add(title+k, before, now[k])
			continue
		}
		d.entries(title+k, a, b, func(e any) string {
			table := e.(map[string]any)
			if user, ok := table["user"].(string); ok {
				return user
			}
			return text(table["name"])
		})
	}
}

// tables tells whether a value is a list of tables.
func tables(v any) ([]any, bool) {
	list, ok := v.([]any)
	for _, e := range list {
		if _, isTable := e.(map[string]any); !isTable {
			return nil, false
		}
	}
	return list, ok
}
