package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/plugin"
)

// duties are what one process does. All processes that share a database keep the
// queues filled and tell notifiers, whatever their roles.
type duties struct {
	// api answers HTTP and runs the services that plugins mount.
	api bool
	// worker runs requests: those of queues, or of all if there are none.
	worker bool
	queues []string
	// slots bounds what runs at the same time; 0 leaves that to the configuration.
	slots int
	// health is where a process without the API tells how it is; empty is nowhere.
	health string
}

func parseRoles(names []string) (duties, error) {
	var r duties
	for _, name := range names {
		switch name {
		case "api":
			r.api = true
		case "worker":
			r.worker = true
		default:
			return r, &exitError{exitUsage, fmt.Errorf("--roles: there is no role %q; write api, worker or api,worker", name)}
		}
	}
	if !r.api {
		return r, &exitError{exitUsage, errors.New("--roles: a server has at least the role api; start a worker with: iib worker")}
	}
	return r, nil
}

func newWorkerCommand() *cobra.Command {
	var path, health string
	var queues []string
	var slots int
	c := &cobra.Command{
		Use:   "worker",
		Short: "Run requests that other processes accept",
		Long: "Run requests that other processes accept. All of them share a database, a Redis, a registry, the\n" +
			"key that seals secrets, and the bucket or directory of logs and artifacts; any number of them may run.\n\n" +
			"A worker listens nowhere unless --health says so. SIGHUP reads the configuration again; SIGTERM\n" +
			"hands running requests back to the other workers and ends.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if slots < 0 || slots == 0 && c.Flags().Changed("concurrency") {
				return &exitError{exitUsage, fmt.Errorf("--concurrency: a worker cannot run %d requests at the same time; leave it out for no limit", slots)}
			}
			return serve(c.Context(), path, duties{worker: true, queues: queues, slots: slots, health: health}, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&path, "config", "iib.hcl", "the configuration file")
	c.Flags().StringSliceVar(&queues, "queues", nil, "the queues to work on, with commas between them (default all)")
	c.Flags().IntVar(&slots, "concurrency", 0, "how many requests to run at the same time, over all queues (default what iib.hcl says)")
	c.Flags().StringVar(&health, "health", "", "an address, such as 127.0.0.1:8081, to answer /livez, /readyz and /metrics at")
	return c
}

// check tells what a configuration lacks for a process that needs others.
func (r duties) check(c *config.Config) error {
	for _, name := range r.queues {
		if c.Queue(name) == nil {
			return &exitError{exitUsage, fmt.Errorf("--queues: there is no queue %q; iib.hcl has %s", name, strings.Join(queueNames(c), ", "))}
		}
	}
	if r.api && r.worker {
		return nil
	}
	var missing []string
	if c.Redis.URL.Reveal() == "" {
		missing = append(missing, "redis.url: the Redis inside of a process is out of the others' reach")
	}
	if !r.api {
		if c.Registry.Address == "" {
			missing = append(missing, "registry.address: a worker has no registry of its own; write the one that results are pushed to")
		}
		if c.Server.ExternalURL == "" {
			missing = append(missing, "server.external_url: what a worker tells notifiers leads to the API")
		}
		if _, err := os.Stat(c.Secrets.KeyFile); c.Secrets.MakeKey && errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, "secrets.key or secrets.key_file: a worker opens secrets that others have sealed, so it makes no key of its own")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("a process that shares the work with others needs more in its configuration:\n  %s", strings.Join(missing, "\n  "))
}

// plugins leaves out what a process of these roles has no use for. A process
// without workers needs the handlers all the same: they judge what is submitted.
func (r duties) plugins(rc plugin.Config) plugin.Config {
	if !r.worker {
		rc.Builder, rc.Steps, rc.DefaultSteps = "", nil, nil
	}
	rc.Plugins = slices.DeleteFunc(rc.Plugins, func(spec plugin.Spec) bool {
		switch spec.Kind {
		case plugin.KindService:
			return !r.api
		case plugin.KindGate, plugin.KindCustomizer, plugin.KindBuilder:
			return !r.worker
		}
		return false
	})
	return rc
}

// runQueues runs the requests of the queues until ctx ends, and does nothing in
// a process that is no worker.
func (s *server) runQueues(ctx context.Context) error {
	if !s.roles.worker {
		<-ctx.Done()
		return nil
	}
	return s.queue.Serve(ctx, queueSpecs(s.config.Load(), s.roles.queues), s.queueChanges, func(ctx context.Context, queue string, pass func()) {
		release, ok := s.engine.Slot(ctx, queue, pass)
		if !ok {
			return
		}
		defer release()
		if !s.engine.Reachable(ctx) {
			pass()
			s.engine.AwaitStore(ctx)
			return
		}
		s.engine.Run(ctx, queue)
	})
}

// changeQueues has runQueues go on with the queues of a configuration. Only the
// newest one matters to it.
func (s *server) changeQueues(c *config.Config) {
	select {
	case <-s.queueChanges:
	default:
	}
	s.queueChanges <- queueSpecs(c, s.roles.queues)
}

func queueNames(c *config.Config) []string {
	var names []string
	for _, q := range c.Queues {
		names = append(names, q.Name)
	}
	return names
}
