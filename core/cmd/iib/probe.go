package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/core/api"
	"github.com/iib-engine/iib/sdk"
)

// leastFree is how many bytes the data directory must have free for requests to
// have a chance.
const leastFree = 1 << 30

// probes are the parts that the engine needs to do its work.
func (s *server) probes() []api.Probe {
	probes := []api.Probe{
		{Name: "database", Check: s.store.Ping},
		{Name: "redis", Check: s.queue.Ping},
		{Name: "plugins", Check: s.probePlugins},
		{Name: "registry", Check: s.probeRegistry},
		{Name: "disk", Check: s.probeDisk},
	}
	if bucket, ok := s.files.(interface{ Ping(context.Context) error }); ok {
		probes = append(probes, api.Probe{Name: "bucket", Check: bucket.Ping})
	}
	return probes
}

// probePlugins names the plugins that do not run.
func (s *server) probePlugins(context.Context) error {
	if !s.roster.Applied() {
		return errors.New("the plugins are being started")
	}
	var down []string
	for _, p := range s.roster.Status() {
		if p.State != "running" {
			down = append(down, p.Name+" ("+p.State+")")
		}
	}
	if len(down) > 0 {
		return fmt.Errorf("these plugins do not run: %s", strings.Join(down, ", "))
	}
	return nil
}

// probeRegistry asks for a build that need not be there: any answer but that
// one will do.
func (s *server) probeRegistry(ctx context.Context) error {
	_, err := s.images.Session(nil).Digest(ctx, s.images.BuildTag("0"))
	if err != nil && sdk.CodeOf(err) != sdk.NotFound {
		return err
	}
	return nil
}

func (s *server) probeDisk(context.Context) error {
	dir := s.config.Load().Server.DataDir
	disk, err := diskOf(dir)
	if err == nil {
		err = disk.enough()
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	return nil
}

// disk is the file system that a directory is on.
type disk struct{ unix.Statfs_t }

func diskOf(dir string) (disk, error) {
	var d disk
	return d, unix.Statfs(dir, &d.Statfs_t)
}

// free is how many bytes others than root may still write.
func (d disk) free() uint64 { return d.Bavail * uint64(d.Bsize) }

func (d disk) enough() error {
	if free := d.free(); free < leastFree {
		return fmt.Errorf("%d MiB are free, and %d are needed", free>>20, leastFree>>20)
	}
	return nil
}

// version is the program's own, from what the build recorded.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
