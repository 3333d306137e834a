package index

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/image"
)

// Labels and paths that tell what an index image is (handlers, section 2).
const (
	labelConfigs  = "operators.operatorframework.io.index.configs.v1"
	labelDatabase = "operators.operatorframework.io.index.database.v1"
	labelVersion  = "com.redhat.index.delivery.version"
	labelScope    = "com.redhat.index.delivery.distribution_scope"

	configsDir   = "/configs"
	cacheDir     = "/tmp/cache"
	databasePath = "/database/index.db"
	hiddenPath   = "/var/lib/iib/_hidden/do.not.edit.db"

	// versionUnknown is the version of an index without a label, and of no
	// index; versionNoTarget that of an absent merge target.
	versionUnknown  = "v4.5"
	versionNoTarget = "v4.6"
	scopeUnknown    = "prod"
)

// Base is an index image that a request starts from.
type Base struct {
	// Spec is as the user wrote it, Pinned by digest.
	Spec   string
	Pinned string
	// Arches are sorted.
	Arches  []string
	Version string
	Scope   string
	// Configs is the catalog's directory in a file-based index, Database the
	// file in a SQLite one; exactly one is set.
	Configs  string
	Database string
	// Created is that of the index's configuration.
	Created time.Time

	// info is the first architecture's image: the catalog is the same in all.
	info *image.Info
}

// FileBased reports whether the index holds a file-based catalog.
func (b *Base) FileBased() bool { return b.Configs != "" }

// Resolve reads what a request must know of an index.
func (s *Session) Resolve(ctx context.Context, spec string) (*Base, error) {
	m, err := s.Client.Resolve(ctx, spec)
	if err != nil {
		return nil, err
	}
	b := &Base{Spec: spec, Pinned: repository(spec) + "@" + string(m.Digest)}
	if b.Arches, err = s.Client.ArchesOf(ctx, m); err != nil {
		return nil, err
	}
	slices.Sort(b.Arches)
	b.Arches = slices.Compact(b.Arches)
	if b.info, err = s.Client.InspectManifest(ctx, m, b.Arches[0]); err != nil {
		return nil, err
	}
	labels := b.info.Labels
	b.Created = b.info.Created
	b.Version = or(labels[labelVersion], versionUnknown)
	b.Scope = strings.ToLower(or(labels[labelScope], scopeUnknown))
	if scopeRank(b.Scope) < 0 {
		return nil, sdk.Errorf(sdk.Invalid, "index %s: its label %s is %q, which is none of dev, stage and prod", spec, labelScope, b.Scope)
	}
	b.Configs, b.Database = labels[labelConfigs], labels[labelDatabase]
	switch {
	case b.Configs != "":
		b.Database = ""
	case b.Database == "":
		return nil, sdk.Errorf(sdk.Invalid, "image %s is no index: it has neither the label %s nor %s", spec, labelConfigs, labelDatabase)
	}
	return b, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
