package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/artifact"
	"github.com/iib-engine/iib/core/store"
)

// Files that have expired are looked for so often: a hundredth of the time that
// they are kept, within bounds.
const (
	sweepShare   = 100
	sweepAtLeast = time.Second
	sweepAtMost  = time.Hour
)

// sweep removes logs and artifacts that have expired until ctx ends. Processes
// that share a directory or a bucket may do so at the same time.
func (s *server) sweep(ctx context.Context) {
	for {
		keep := s.config.Load().Artifacts.Keep
		removed, err := artifact.Sweep(ctx, s.files, s.store, keep, time.Now(), false)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("expired files are left", "err", err)
		}
		if len(removed) > 0 {
			var size int64
			for _, f := range removed {
				size += f.Bytes
			}
			s.log.Info("expired logs and artifacts were removed", "requests", len(removed), "bytes", size)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(max(keep/sweepShare, sweepAtLeast), sweepAtMost)):
		}
	}
}

func newSweepCommand() *cobra.Command {
	var path string
	var dryRun bool
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Remove logs and artifacts that have expired, as the engine does by itself",
		Long: "Remove logs and artifacts of requests that ended longer ago than artifacts.keep, as a running engine\n" +
			"does by itself. It reads the configuration, the database and the directory or bucket, and asks no engine.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path, c.ErrOrStderr())
			if err != nil {
				return err
			}
			files, err := openFiles(cfg.Artifacts)
			if err != nil {
				return err
			}
			// Nothing sealed is read.
			requests, err := store.Open(c.Context(), cfg.Database.URL.Reveal(), store.Options{})
			if err != nil {
				return err
			}
			defer requests.Close()
			removed, err := artifact.Sweep(c.Context(), files, requests, cfg.Artifacts.Keep, time.Now(), dryRun)
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "REQUEST\tBYTES\tLAST WRITTEN")
			for _, f := range removed {
				fmt.Fprintf(table, "%d\t%d\t%s\n", f.Request, f.Bytes, f.Changed.UTC().Format(time.RFC3339))
			}
			if flushed := table.Flush(); err == nil {
				err = flushed
			}
			return err
		},
	}
	c.Flags().StringVar(&path, "config", "iib.hcl", "the configuration file")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would be removed")
	return c
}
