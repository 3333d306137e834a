package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk/image/layer/cas"
)

// Meta is one meta of a catalog.
type Meta struct {
	// Schema, Package and Name are the values of those keys.
	Schema, Package, Name string
	// File is the path of the file that it is in.
	File string
	// Blob is its text: byte for byte as in a JSON file; converted to JSON
	// from a YAML file.
	Blob json.RawMessage
}

// Metas returns the metas of a package in the order in which opm reads them;
// none if there is no such package. The empty name stands for the metas that
// belong to no package.
func (t *Tree) Metas(ctx context.Context, pkg string) ([]Meta, error) {
	var metas []Meta
	for _, e := range t.holders[pkg] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list, err := t.metas(e, pkg)
		if err != nil {
			return nil, err
		}
		metas = append(metas, list...)
	}
	return metas, nil
}

// metas reads a package's metas from one of its files, and no other bytes.
func (t *Tree) metas(e *entry, pkg string) ([]Meta, error) {
	blob, err := t.store.blob(e)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var (
		metas []Meta
		yamls []bool
		sum   = sha256.New()
	)
	for i := range e.Scan.Items {
		it := &e.Scan.Items[i]
		if it.owner() != pkg {
			continue
		}
		raw := make([]byte, it.Len)
		if _, err := blob.ReadAt(raw, it.Off); err != nil && (err != io.EOF || it.Off+it.Len != e.Size) {
			return nil, fmt.Errorf("catalog file %s: %w", e.Path, err)
		}
		addToSum(sum, it.YAML, raw)
		yamls = append(yamls, it.YAML)
		metas = append(metas, Meta{Schema: it.Schema, Package: it.Package, Name: it.Name, File: e.Path, Blob: raw})
	}
	if cas.Key(sum.Sum(nil)) != e.Scan.Sums[pkg] {
		_ = t.store.blobs.Remove(e.Key)
		return nil, unavailable(fmt.Errorf("catalog file %s: %w", e.Path, cas.ErrDamaged))
	}
	for i := range metas {
		if !yamls[i] {
			continue
		}
		if metas[i].Blob, err = yamlToJSON(t.store.limits, metas[i].Blob); err != nil {
			return nil, fmt.Errorf("catalog file %s: %w", e.Path, err)
		}
	}
	return metas, nil
}

// Config decodes the metas of a package; an empty configuration if there is no
// such package.
func (t *Tree) Config(ctx context.Context, pkg string) (*declcfg.DeclarativeConfig, error) {
	metas, err := t.Metas(ctx, pkg)
	if err != nil {
		return nil, err
	}
	list := make([]*declcfg.Meta, len(metas))
	for i, m := range metas {
		list[i] = &declcfg.Meta{Schema: m.Schema, Package: m.Package, Name: m.Name, Blob: m.Blob}
	}
	cfg, err := declcfg.LoadSlice(list)
	if err != nil {
		return nil, invalid("package %s: %v", pkg, err)
	}
	return cfg, nil
}

// Join returns metas as the text that WithPackage takes.
func Join(metas []Meta) []byte {
	var buf bytes.Buffer
	for _, m := range metas {
		buf.Write(m.Blob)
		buf.WriteByte('\n')
	}
	return buf.Bytes()
}
