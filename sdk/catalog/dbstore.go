package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/pkg/registry"
)

// storeGraph writes a graph back over the one that it was loaded as; before
// are the nodes as they were then. Rows are written in an order that depends
// on the content only.
func (t *dbtx) storeGraph(g *graph, before map[string]node) error {
	for _, query := range []string{
		`DELETE FROM package WHERE name = ?`,
		`DELETE FROM channel WHERE package_name = ?`,
		`DELETE FROM channel_entry WHERE package_name = ?`,
	} {
		if err := t.exec(query, g.name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now := g.nodes[name]; now == nil || now.added != nil {
			if err := t.deleteBundle(name); err != nil {
				return err
			}
		}
	}
	for _, n := range g.sortedNodes() {
		if err := t.storeNode(n, before); err != nil {
			return err
		}
	}
	if err := t.insertChannels(g); err != nil {
		return err
	}
	return t.completePackageProperties(g)
}

// deleteBundle removes a bundle and what the foreign keys do not.
func (t *dbtx) deleteBundle(name string) error {
	for _, query := range []string{
		`DELETE FROM operatorbundle WHERE name = ?`,
		`DELETE FROM api_provider WHERE operatorbundle_name = ?`,
		`DELETE FROM api_requirer WHERE operatorbundle_name = ?`,
		`DELETE FROM channel_entry WHERE operatorbundle_name = ?`,
		`DELETE FROM deprecated WHERE operatorbundle_name = ?`,
	} {
		if err := t.exec(query, name); err != nil {
			return err
		}
	}
	return nil
}

func (t *dbtx) storeNode(n *node, before map[string]node) error {
	old, existed := before[n.name]
	switch {
	case n.added != nil:
		if err := t.insertBundle(n); err != nil {
			return err
		}
	case existed && (old.replaces != n.replaces || old.substitutesFor != n.substitutesFor || !slices.Equal(old.skips, n.skips)):
		if err := t.exec(`UPDATE operatorbundle SET replaces = ?, skips = ?, substitutesfor = ? WHERE name = ?`,
			n.replaces, strings.Join(n.skips, ","), n.substitutesFor, n.name); err != nil {
			return err
		}
	}
	if n.cleared {
		if err := t.exec(`UPDATE operatorbundle SET bundle = NULL, csv = NULL WHERE name = ? AND (bundle IS NOT NULL OR csv IS NOT NULL)`, n.name); err != nil {
			return err
		}
	}
	if n.deprecated && !old.deprecated {
		if err := t.insertProperty(n, typedValue{typeDeprecated, "{}"}); err != nil {
			return err
		}
		return t.exec(`INSERT OR REPLACE INTO deprecated(operatorbundle_name) VALUES(?)`, n.name)
	}
	return nil
}

func (t *dbtx) insertBundle(n *node) error {
	b := n.added
	if err := t.exec(`INSERT INTO operatorbundle(name, csv, bundle, bundlepath, version, skiprange, replaces, skips, substitutesfor)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n.name, []byte(b.rows.csv), []byte(b.rows.text), n.image, n.version, n.skipRange, n.replaces, strings.Join(n.skips, ","), n.substitutesFor); err != nil {
		return err
	}
	for _, image := range b.rows.images {
		if err := t.exec(`INSERT INTO related_image(image, operatorbundle_name) VALUES(?, ?)`, image, n.name); err != nil {
			return err
		}
	}
	for _, dep := range b.rows.deps {
		if err := t.exec(`INSERT INTO dependencies(type, value, operatorbundle_name, operatorbundle_version, operatorbundle_path) VALUES(?, ?, ?, ?, ?)`,
			dep.Type, []byte(dep.Value), n.name, n.version, n.image); err != nil {
			return err
		}
	}
	for _, prop := range b.rows.props {
		if err := t.insertProperty(n, prop); err != nil {
			return err
		}
	}
	if err := t.insertAPIs(n, "api_provider", b.rows.provided); err != nil {
		return err
	}
	return t.insertAPIs(n, "api_requirer", b.rows.required)
}

func (t *dbtx) insertProperty(n *node, prop typedValue) error {
	return t.exec(`INSERT INTO properties(type, value, operatorbundle_name, operatorbundle_version, operatorbundle_path) VALUES(?, ?, ?, ?, ?)`,
		prop.Type, prop.Value, n.name, n.version, n.image)
}

func (t *dbtx) insertAPIs(n *node, table string, apis []registry.APIKey) error {
	for _, api := range apis {
		if err := t.exec(`INSERT OR IGNORE INTO api(group_name, version, kind, plural) VALUES(?, ?, ?, ?)`,
			api.Group, api.Version, api.Kind, api.Plural); err != nil {
			return err
		}
		if err := t.exec(`INSERT INTO `+table+`(group_name, version, kind, operatorbundle_name, operatorbundle_version, operatorbundle_path) VALUES(?, ?, ?, ?, ?, ?)`,
			api.Group, api.Version, api.Kind, n.name, n.version, n.image); err != nil {
			return err
		}
	}
	return nil
}

func (t *dbtx) insertChannels(g *graph) error {
	if g.listed {
		if err := t.exec(`INSERT INTO package(name) VALUES(?)`, g.name); err != nil {
			return err
		}
	}
	for _, name := range g.channelNames() {
		ch := g.channels[name]
		var head any
		if ch.head != "" {
			head = ch.head
		}
		if err := t.exec(`INSERT INTO channel(name, package_name, head_operatorbundle_name) VALUES(?, ?, ?)`, name, g.name, head); err != nil {
			return err
		}
		if err := t.insertEntries(g.name, name, ch); err != nil {
			return err
		}
	}
	if g.listed && g.defaultChannel != "" {
		return t.exec(`UPDATE package SET default_channel = ? WHERE name = ?`, g.defaultChannel, g.name)
	}
	return nil
}

func (t *dbtx) insertEntries(pkg, name string, ch *channel) error {
	ids := make(map[*entry]int64, len(ch.entries))
	for _, e := range ch.entries {
		res, err := t.ExecContext(t.ctx, `INSERT INTO channel_entry(channel_name, package_name, operatorbundle_name, depth) VALUES(?, ?, ?, ?)`,
			name, pkg, e.bundle, e.depth)
		if err != nil {
			return err
		}
		if ids[e], err = res.LastInsertId(); err != nil {
			return err
		}
	}
	for _, e := range ch.entries {
		if e.replaces == nil {
			continue
		}
		if err := t.exec(`UPDATE channel_entry SET replaces = ? WHERE entry_id = ?`, ids[e.replaces], ids[e]); err != nil {
			return err
		}
	}
	return nil
}

// completePackageProperties gives bundles of old databases the property that
// says which package they belong to.
func (t *dbtx) completePackageProperties(g *graph) error {
	have, err := textSet(t.ctx, t, `SELECT DISTINCT operatorbundle_name FROM properties WHERE type = ?`, registry.PackageType)
	if err != nil {
		return err
	}
	for _, n := range g.sortedNodes() {
		if have[n.name] || !g.inChannels(n.name) {
			continue
		}
		value, err := json.Marshal(registry.PackageProperty{PackageName: g.name, Version: n.version})
		if err != nil {
			return err
		}
		if err := t.insertProperty(n, typedValue{registry.PackageType, string(value)}); err != nil {
			return err
		}
	}
	return nil
}
