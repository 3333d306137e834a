package catalog

import (
	"context"
	"database/sql"
	"maps"
	"slices"
)

// loadGraph reads the upgrade graph of one package. It includes the bundles
// that are in no channel of any package: new ones may refer to them.
func loadGraph(ctx context.Context, q querier, pkg string) (*graph, error) {
	g := newGraph(pkg)
	defaults, err := collect(ctx, q, scanText, `SELECT default_channel FROM package WHERE name = ?`, pkg)
	if err != nil {
		return nil, err
	}
	if g.listed = len(defaults) > 0; g.listed {
		g.defaultChannel = defaults[0]
	}
	if err := g.loadEntries(ctx, q); err != nil {
		return nil, err
	}
	if err := g.loadNodes(ctx, q); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *graph) loadEntries(ctx context.Context, q querier) error {
	type head struct{ channel, bundle string }
	heads, err := collect(ctx, q, func(rows *sql.Rows) (head, error) {
		var channel, bundle sql.NullString
		err := rows.Scan(&channel, &bundle)
		return head{channel.String, bundle.String}, err
	}, `SELECT name, head_operatorbundle_name FROM channel WHERE package_name = ?`, g.name)
	if err != nil {
		return err
	}
	for _, h := range heads {
		g.channels[h.channel] = &channel{head: h.bundle}
	}

	type row struct {
		id       int64
		channel  string
		bundle   string
		replaces sql.NullInt64
		depth    int
	}
	rows, err := collect(ctx, q, func(rows *sql.Rows) (row, error) {
		var r row
		var channel, bundle sql.NullString
		var depth sql.NullInt64
		err := rows.Scan(&r.id, &channel, &bundle, &r.replaces, &depth)
		r.channel, r.bundle, r.depth = channel.String, bundle.String, int(depth.Int64)
		return r, err
	}, `SELECT entry_id, channel_name, operatorbundle_name, replaces, depth FROM channel_entry WHERE package_name = ? ORDER BY entry_id`, g.name)
	if err != nil {
		return err
	}
	byID := map[int64]*entry{}
	for _, r := range rows {
		ch := g.channels[r.channel]
		if ch == nil {
			continue // kept from being so by a foreign key
		}
		byID[r.id] = ch.add(r.bundle, r.depth)
	}
	for _, r := range rows {
		if from := byID[r.id]; from != nil && r.replaces.Valid {
			from.replaces = byID[r.replaces.Int64]
		}
	}
	tips, err := collect(ctx, q, func(rows *sql.Rows) (int, error) {
		var depth sql.NullInt64
		err := rows.Scan(&depth)
		return int(depth.Int64), err
	}, `SELECT min(depth) FROM channel_entry`)
	if err != nil {
		return err
	}
	g.tip = tips[0]
	return nil
}

func (g *graph) loadNodes(ctx context.Context, q querier) error {
	names, err := textSet(ctx, q, `SELECT name FROM operatorbundle WHERE name NOT IN (SELECT operatorbundle_name FROM channel_entry)`)
	if err != nil {
		return err
	}
	for _, ch := range g.channels {
		for _, e := range ch.entries {
			names[e.bundle] = true
		}
		if ch.head != "" {
			names[ch.head] = true
		}
	}
	deprecated, err := textSet(ctx, q, `SELECT operatorbundle_name FROM deprecated`)
	if err != nil {
		return err
	}
	hidden, err := textSet(ctx, q, `SELECT DISTINCT operatorbundle_name FROM properties WHERE type = ?`, typeDeprecated)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		// One at a time, by the key: the columns wanted stand behind the
		// manifests, so that a scan of the table reads the whole file.
		found, err := collect(ctx, q, scanNode, `SELECT rowid, name, bundlepath, version, skiprange, replaces, skips, substitutesfor
			FROM operatorbundle WHERE name = ?`, name)
		if err != nil {
			return err
		}
		for _, n := range found {
			n.deprecated, n.hidden = deprecated[name], hidden[name]
			g.nodes[name] = n
		}
	}
	return nil
}

func scanNode(rows *sql.Rows) (*node, error) {
	var name, image, version, skipRange, replaces, skips, substitutesFor sql.NullString
	n := &node{}
	if err := rows.Scan(&n.order, &name, &image, &version, &skipRange, &replaces, &skips, &substitutesFor); err != nil {
		return nil, err
	}
	n.name, n.image, n.version, n.skipRange = name.String, image.String, version.String, skipRange.String
	n.replaces, n.skips, n.substitutesFor = replaces.String, splitNames(skips.String), substitutesFor.String
	return n, nil
}

// cloneNodes copies the nodes, for storeGraph to see what an edit changed.
func (g *graph) cloneNodes() map[string]node {
	out := make(map[string]node, len(g.nodes))
	for name, n := range g.nodes {
		c := *n
		c.skips = slices.Clone(n.skips)
		out[name] = c
	}
	return out
}
