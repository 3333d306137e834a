package opm

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"

	"github.com/iib-engine/iib/sdk/catalog"
)

// Canonical is the content of one package in a form that compares: what is a
// set is sorted, JSON values are as short as they can be.
type Canonical struct {
	DefaultChannel string
	Icon           string
	Channels       map[string]map[string]declcfg.ChannelEntry
	Bundles        map[string]string
}

// Written is what opm reads after it has written a catalog: the same, with the
// keys of JSON values in their order.
func Written(cfg *declcfg.DeclarativeConfig) (*declcfg.DeclarativeConfig, error) {
	var text bytes.Buffer
	if err := declcfg.WriteJSON(*cfg, &text); err != nil {
		return nil, err
	}
	return declcfg.LoadReader(&text)
}

// Canonicalize returns the packages of a catalog by name.
func Canonicalize(cfg *declcfg.DeclarativeConfig) map[string]*Canonical {
	out := map[string]*Canonical{}
	for _, p := range cfg.Packages {
		c := &Canonical{DefaultChannel: p.DefaultChannel, Channels: map[string]map[string]declcfg.ChannelEntry{}, Bundles: map[string]string{}}
		if p.Icon != nil {
			c.Icon = p.Icon.MediaType + ":" + string(p.Icon.Data)
		}
		out[p.Name] = c
	}
	for _, ch := range cfg.Channels {
		entries := map[string]declcfg.ChannelEntry{}
		for _, e := range ch.Entries {
			slices.Sort(e.Skips)
			if len(e.Skips) == 0 {
				e.Skips = nil
			}
			entries[e.Name] = e
		}
		out[ch.Package].Channels[ch.Name] = entries
	}
	for _, b := range cfg.Bundles {
		data, err := json.Marshal(b)
		if err != nil {
			panic(err) // it was decoded from JSON
		}
		out[b.Package].Bundles[b.Name] = string(data)
	}
	return out
}

// ClearLike takes from bundles what operator-registry's semver modes clear,
// where the other package has it cleared.
func (c *Canonical) ClearLike(other *Canonical) {
	if other == nil {
		return
	}
	for name, doc := range c.Bundles {
		if strings.Contains(other.Bundles[name], property.TypeCSVMetadata) {
			continue
		}
		var b declcfg.Bundle
		if err := json.Unmarshal([]byte(doc), &b); err != nil {
			panic(err) // it was encoded from one
		}
		b.Properties = slices.DeleteFunc(b.Properties, func(p property.Property) bool { return p.Type == property.TypeCSVMetadata })
		for i := range b.RelatedImages {
			b.RelatedImages[i].Name = ""
		}
		data, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		c.Bundles[name] = string(data)
	}
}

// OfPackage is the canonical form of what our code made of a package.
func OfPackage(p *catalog.Package) (*Canonical, error) {
	cfg, err := p.Config()
	if err != nil {
		return nil, err
	}
	return Canonicalize(cfg)[p.Name], nil
}
