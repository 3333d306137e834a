package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"sort"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
)

// savePackage writes a graph back to the package that it was loaded from.
// Documents and entries that say the same as before keep their bytes.
func savePackage(p *Package, cfg *declcfg.DeclarativeConfig, g *graph) (*Package, error) {
	out := &Package{Name: g.name}
	if p != nil {
		out.Blobs = slices.Clone(p.Blobs)
	}
	kept, err := out.saveChannels(cfg, g)
	if err != nil {
		return nil, err
	}
	if err := out.saveBundles(g, kept); err != nil {
		return nil, err
	}
	if err := out.savePackageBlob(g, cfg); err != nil {
		return nil, err
	}
	channels := map[string]bool{}
	for name := range g.channels {
		channels[name] = true
	}
	if err := out.pruneDeprecations(kept, channels); err != nil {
		return nil, err
	}
	if err := out.validateEdited(); err != nil {
		return nil, err
	}
	return out, nil
}

// saveChannels updates the channels and returns the bundles that are in any.
func (p *Package) saveChannels(cfg *declcfg.DeclarativeConfig, g *graph) (map[string]bool, error) {
	before := map[string]*line{}
	for _, ch := range cfg.Channels {
		before[ch.Name] = newLine(ch)
	}
	kept := map[string]bool{}
	p.drop(func(b Blob) bool { return b.Schema == schemaChannel && g.channels[b.Name] == nil })
	for _, name := range g.channelNames() {
		ch := g.channels[name]
		now := g.publish(ch)
		for bundle := range now {
			kept[bundle] = true
		}
		i := p.find(schemaChannel, name)
		if i < 0 {
			entries := make([]declcfg.ChannelEntry, 0, len(now))
			for _, bundle := range slices.Sorted(maps.Keys(now)) {
				entries = append(entries, now[bundle].entry(bundle))
			}
			blob, err := newBlob(schemaChannel, g.name, name, declcfg.Channel{Schema: schemaChannel, Name: name, Package: g.name, Entries: entries})
			if err != nil {
				return nil, err
			}
			p.insert(blob)
			continue
		}
		doc, err := updateChannel(p.Blobs[i].JSON, before[name], now)
		if err != nil {
			return nil, err
		}
		p.Blobs[i].JSON = doc
	}
	return kept, nil
}

// updateChannel rewrites the entries of a channel that changed.
func updateChannel(doc json.RawMessage, before *line, now map[string]published) (json.RawMessage, error) {
	ch, err := parseObject(doc)
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(ch.values["entries"], &entries); err != nil {
		return nil, err
	}
	onWalk := map[string]bool{}
	for _, bundle := range before.walk {
		onWalk[bundle] = true
	}
	changed := false
	sorted := true
	last := ""
	names := map[string]bool{}
	var out []json.RawMessage
	for _, raw := range entries {
		var old declcfg.ChannelEntry
		if err := json.Unmarshal(raw, &old); err != nil {
			return nil, err
		}
		sorted = sorted && last <= old.Name
		last = old.Name
		e, ok := now[old.Name]
		if !ok {
			changed = true
			continue
		}
		names[old.Name] = true
		if e.added && (old.SkipRange != e.skipRange || !sameNames(old.Skips, e.skips) || old.Replaces != e.replaces) {
			// Another bundle took the place of one with the same name.
			changed = true
			if raw, err = encode(e.entry(old.Name)); err != nil {
				return nil, err
			}
			out = append(out, raw)
			continue
		}
		same := old.Replaces == e.replaces && sameNames(old.Skips, e.skips)
		if !onWalk[old.Name] && e.replaces == "" && len(e.skips) == 0 {
			// Off the walk before and after: its own edges were of no effect.
			same = true
		}
		if !same {
			changed = true
			if raw, err = updateEntry(raw, old, e); err != nil {
				return nil, err
			}
		}
		out = append(out, raw)
	}
	for _, bundle := range slices.Sorted(maps.Keys(now)) {
		if names[bundle] {
			continue
		}
		changed = true
		raw, err := encode(now[bundle].entry(bundle))
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	if !changed {
		return doc, nil
	}
	if sorted {
		sort.SliceStable(out, func(i, j int) bool { return entryName(out[i]) < entryName(out[j]) })
	}
	if err := ch.set("entries", out); err != nil {
		return nil, err
	}
	return ch.encode()
}

func entryName(raw json.RawMessage) string {
	var e struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(raw, &e) // it was encoded or decoded before
	return e.Name
}

func updateEntry(raw json.RawMessage, old declcfg.ChannelEntry, now published) (json.RawMessage, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	if old.Replaces != now.replaces {
		var value any
		if now.replaces != "" {
			value = now.replaces
		}
		if err := o.set("replaces", value); err != nil {
			return nil, err
		}
	}
	if !sameNames(old.Skips, now.skips) {
		var value any
		if len(now.skips) > 0 {
			value = now.skips
		}
		if err := o.set("skips", value); err != nil {
			return nil, err
		}
	}
	return o.encode()
}

// saveBundles removes the bundles that are in no channel, takes the heavy
// content from those that a semver mode cleared, and puts the new ones in.
func (p *Package) saveBundles(g *graph, kept map[string]bool) error {
	p.drop(func(b Blob) bool {
		return b.Schema == schemaBundle && (!kept[b.Name] || g.nodes[b.Name].added != nil)
	})
	for _, n := range g.sortedNodes() {
		if n.added != nil && kept[n.name] {
			p.insert(n.added.Blob)
		}
	}
	for i, b := range p.Blobs {
		if b.Schema == schemaBundle && g.nodes[b.Name].cleared {
			doc, err := clearBundle(b.JSON)
			if err != nil {
				return err
			}
			p.Blobs[i].JSON = doc
		}
	}
	return nil
}

// clearBundle is what a semver mode does to a bundle that is not a head: what
// comes from its CSV goes, and its images lose their names.
func clearBundle(doc json.RawMessage) (json.RawMessage, error) {
	var b declcfg.Bundle
	if err := json.Unmarshal(doc, &b); err != nil {
		return nil, err
	}
	props := slices.DeleteFunc(slices.Clone(b.Properties), func(p property.Property) bool {
		return p.Type == property.TypeCSVMetadata || p.Type == property.TypeBundleObject
	})
	var related []declcfg.RelatedImage
	for _, image := range b.RelatedImages {
		related = append(related, declcfg.RelatedImage{Image: image.Image})
	}
	slices.SortStableFunc(related, func(a, b declcfg.RelatedImage) int { return cmp.Compare(a.Image, b.Image) })
	related = slices.Compact(related)
	if len(props) == len(b.Properties) && slices.Equal(related, b.RelatedImages) {
		return doc, nil
	}
	o, err := parseObject(doc)
	if err != nil {
		return nil, err
	}
	if err := o.set("properties", props); err != nil {
		return nil, err
	}
	if len(related) > 0 {
		if err := o.set("relatedImages", related); err != nil {
			return nil, err
		}
	}
	return o.encode()
}

// savePackageBlob sets the default channel, and the icon if a new bundle is
// the head of it.
func (p *Package) savePackageBlob(g *graph, cfg *declcfg.DeclarativeConfig) error {
	var added *Bundle
	if ch := g.channels[g.defaultChannel]; ch != nil && g.nodes[ch.head] != nil {
		added = g.nodes[ch.head].added
	}
	if len(cfg.Packages) == 0 {
		pkg := declcfg.Package{Schema: schemaPackage, Name: g.name, DefaultChannel: g.defaultChannel}
		if added != nil {
			pkg.Icon = added.icon
		}
		blob, err := newBlob(schemaPackage, g.name, g.name, pkg)
		if err != nil {
			return err
		}
		p.Blobs = slices.Insert(p.Blobs, 0, blob)
		return nil
	}
	old := cfg.Packages[0]
	newIcon := added != nil && !sameIcon(old.Icon, added.icon)
	if old.DefaultChannel == g.defaultChannel && !newIcon {
		return nil
	}
	i := p.find(schemaPackage, g.name)
	o, err := parseObject(p.Blobs[i].JSON)
	if err != nil {
		return err
	}
	if err := o.set("defaultChannel", g.defaultChannel); err != nil {
		return err
	}
	if newIcon {
		var icon any
		if added.icon != nil {
			icon = added.icon
		}
		if err := o.set("icon", icon); err != nil {
			return err
		}
	}
	p.Blobs[i].JSON, err = o.encode()
	return err
}

func sameIcon(a, b *declcfg.Icon) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(a.Data, b.Data) && a.MediaType == b.MediaType
}

// pruneDeprecations removes deprecations of bundles and channels that are not
// among the given ones any more: they would make the package invalid.
func (p *Package) pruneDeprecations(bundles, channels map[string]bool) error {
	for i := 0; i < len(p.Blobs); i++ {
		if p.Blobs[i].Schema != schemaDeprecation {
			continue
		}
		o, err := parseObject(p.Blobs[i].JSON)
		if err != nil {
			return err
		}
		var entries, left []json.RawMessage
		if err := json.Unmarshal(o.values["entries"], &entries); err != nil {
			return err
		}
		for _, raw := range entries {
			var e declcfg.DeprecationEntry
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			switch {
			case e.Reference.Schema == schemaBundle && !bundles[e.Reference.Name]:
			case e.Reference.Schema == schemaChannel && !channels[e.Reference.Name]:
			default:
				left = append(left, raw)
			}
		}
		switch {
		case len(left) == len(entries):
		case len(left) == 0:
			p.Blobs = slices.Delete(p.Blobs, i, i+1)
			i--
		default:
			if err := o.set("entries", left); err != nil {
				return err
			}
			if p.Blobs[i].JSON, err = o.encode(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Package) find(schema, name string) int {
	return slices.IndexFunc(p.Blobs, func(b Blob) bool { return b.Schema == schema && b.Name == name })
}

func (p *Package) drop(gone func(Blob) bool) { p.Blobs = slices.DeleteFunc(p.Blobs, gone) }

// insert puts a blob among those of its schema, before the first with a higher
// name. Of a schema that is not there yet it comes last, channels before
// bundles.
func (p *Package) insert(blob Blob) {
	at := -1
	for i, b := range p.Blobs {
		if b.Schema != blob.Schema {
			continue
		}
		if b.Name > blob.Name {
			at = i
			break
		}
		at = i + 1
	}
	if at < 0 {
		at = len(p.Blobs)
		for i, b := range p.Blobs {
			if rank(b.Schema) > rank(blob.Schema) {
				at = i
				break
			}
		}
	}
	p.Blobs = slices.Insert(p.Blobs, at, blob)
}

// rank is the order in which catalogs are written.
func rank(schema string) int {
	order := []string{schemaPackage, schemaChannel, schemaBundle, schemaDeprecation}
	if i := slices.Index(order, schema); i >= 0 {
		return i
	}
	return len(order)
}
