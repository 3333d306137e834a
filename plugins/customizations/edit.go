package main

import (
	"context"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle"
)

// edit opens an unpacked bundle, changes it and saves what changed.
func edit(ctx context.Context, b *sdk.Bundle, change func(*bundle.Bundle) error) error {
	unpacked, err := bundle.Open(b.Dir)
	if err != nil {
		return err
	}
	defer unpacked.Close()
	if err := change(unpacked); err != nil {
		return err
	}
	saved, err := unpacked.Save()
	if err != nil {
		return err
	}
	if len(saved) > 0 {
		b.Logf(ctx, "changed %s", strings.Join(saved, ", "))
	}
	return nil
}
