package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/operator-framework/operator-registry/alpha/declcfg"

	"github.com/iib-engine/iib/sdk/image"
)

// show reads the image back from the registry and prints what is in it.
func show(ctx context.Context, client *image.Client, b *build) error {
	fmt.Printf("index      %s\n           %s\n", b.Index, b.Resolved)
	m, err := client.Resolve(ctx, b.Resolved)
	if err != nil {
		return err
	}
	for _, arch := range b.Arches {
		info, err := client.InspectManifest(ctx, m, arch)
		if err != nil {
			return err
		}
		fmt.Printf("  %-8s %s\n", arch, info.Digest)
	}
	dir, err := os.MkdirTemp("", "iib-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := client.ExtractDirs(ctx, b.Resolved, b.Arches[0], dir, "/configs"); err != nil {
		return err
	}
	catalog, err := declcfg.LoadFS(ctx, os.DirFS(filepath.Join(dir, "configs")))
	if err != nil {
		return err
	}
	if _, err := declcfg.ConvertToModel(*catalog); err != nil {
		return fmt.Errorf("the catalog is not valid: %w", err)
	}
	if len(catalog.Packages) == 0 {
		return errors.New("the catalog has no packages")
	}
	// Files are read beside each other, so the order is any.
	slices.SortFunc(catalog.Packages, func(a, b declcfg.Package) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(catalog.Channels, func(a, b declcfg.Channel) int { return strings.Compare(a.Name, b.Name) })
	fmt.Println("catalog")
	for _, p := range catalog.Packages {
		fmt.Printf("  %s (default channel %s)\n", p.Name, p.DefaultChannel)
		for _, c := range catalog.Channels {
			if c.Package != p.Name {
				continue
			}
			var names []string
			for _, e := range c.Entries {
				names = append(names, e.Name)
			}
			fmt.Printf("    %-12s %s\n", c.Name, strings.Join(names, ", "))
		}
	}
	return nil
}
