package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/api"
	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/engine"
	"github.com/iib-engine/iib/core/images"
	"github.com/iib-engine/iib/core/metrics"
	"github.com/iib-engine/iib/core/plugin"
	"github.com/iib-engine/iib/core/queue"
	"github.com/iib-engine/iib/core/schema"
	"github.com/iib-engine/iib/core/store"
	"github.com/iib-engine/iib/core/tags"
	"github.com/iib-engine/iib/core/tracing"
	"github.com/iib-engine/iib/sdk"
)

func newServerCommand() *cobra.Command {
	var path string
	var names []string
	c := &cobra.Command{
		Use:   "server",
		Short: "Accept requests and run them",
		Long: "Accept requests and run them, as the configuration says. With --roles api it accepts them only, and\n" +
			"processes of iib worker run them.\n\n" +
			"SIGHUP reads the configuration again; SIGTERM hands running requests back and ends.\n" +
			"IIB_LISTEN and IIB_DATA_DIR override the address and the data directory.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			roles, err := parseRoles(names)
			if err != nil {
				return err
			}
			return serve(c.Context(), path, roles, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringSliceVar(&names, "roles", []string{"api", "worker"}, "what this process does: api, or api,worker")
	c.Flags().StringVar(&path, "config", "iib.hcl", "the configuration file")
	return c
}

// drainTimeout bounds how long running requests and open connections are
// waited for when the server stops.
const drainTimeout = 30 * time.Second

func serve(ctx context.Context, path string, r duties, stdout, stderr io.Writer) error {
	c, err := loadConfig(path, stderr)
	if err != nil {
		return err
	}
	if err := r.check(c); err != nil {
		return err
	}
	s, err := newServer(ctx, c, r, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go func() {
		for range hangup {
			s.reload(ctx, path, stderr)
		}
	}()
	fmt.Fprintln(stdout, s.greeting())
	return s.run(ctx)
}

// greeting is the one line that the program prints when it is about to begin.
func (s *server) greeting() string {
	if s.roles.api {
		return fmt.Sprintf("iib answers at %s (documentation: %s/)", s.url, s.url)
	}
	queues := s.roles.queues
	if len(queues) == 0 {
		queues = queueNames(s.config.Load())
	}
	line := "iib works on " + strings.Join(queues, ", ")
	if s.listener != nil {
		line += fmt.Sprintf(" (health: http://%s/readyz)", s.listener.Addr())
	}
	return line
}

// server is the engine with everything around it.
type server struct {
	roles    duties
	config   atomic.Pointer[config.Config]
	identity atomic.Pointer[api.Identity]
	metrics  *metrics.Metrics
	tracer   core.Tracer
	log      *slog.Logger
	// listener is nil in a worker that listens nowhere.
	listener net.Listener
	// url is where the API answers, and address what it listens at; address is
	// empty in a process without it.
	url, address string
	store        *store.Store
	queue        *queue.Queue
	files        core.Files
	images       *images.Images
	roster       *plugin.Roster
	engine       *engine.Engine
	http         *http.Server
	own          *listeners // of services
	// queueChanges has room for the queues of one reload.
	queueChanges  chan []queue.Spec
	sockets, work *ownDir
}

// newServer opens everything, from the ground up. What it opened is closed
// again if a later part fails.
func newServer(ctx context.Context, c *config.Config, r duties, logs io.Writer) (*server, error) {
	s := &server{roles: r, log: newLogger(c, logs), queueChanges: make(chan []queue.Spec, 1)}
	s.config.Store(c)
	if err := s.open(ctx, c, r); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) open(ctx context.Context, c *config.Config, r duties) (err error) {
	if r.api {
		if err := s.recognize(c); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.Server.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := s.listen(c); err != nil {
		return err
	}
	if s.tracer, err = newTracer(ctx, c, s.log); err != nil {
		return err
	}
	keys, err := loadKeys(c.Secrets)
	if err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, c.Database.URL.Reveal(), store.Options{Keys: keys}); err != nil {
		return err
	}
	if s.queue, err = queue.Open(queue.Options{URL: c.Redis.URL.Reveal(), Logger: s.log}); err != nil {
		return err
	}
	if s.files, err = openFiles(c.Artifacts); err != nil {
		return err
	}
	if s.images, err = images.New(imageOptions(c, ownRegistry(c, s.address))); err != nil {
		return err
	}
	if s.sockets, err = openSocketDir(); err != nil {
		return err
	}
	hosts := &hostMaker{data: filepath.Join(c.Server.DataDir, "plugins"), cache: filepath.Join(c.Server.DataDir, "cache"), url: s.url}
	s.roster = plugin.New(plugin.Options{Host: hosts.host, Logger: s.log, SocketDir: s.sockets.path})
	if s.work, err = openWorkDir(filepath.Join(c.Server.DataDir, workSubdir)); err != nil {
		return err
	}
	shared := filepath.Join(c.Server.DataDir, "cache", "shared")
	if err := os.MkdirAll(shared, 0o700); err != nil {
		return fmt.Errorf("make the cache directory: %w", err)
	}
	s.metrics = metrics.New(metrics.Options{Subscriptions: s.store.Subscriptions, Queues: s.store.Queues, Plugins: s.roster.Status, Version: version()})
	s.engine = engine.New(engine.Options{
		Store: s.store, Queue: s.queue, Roster: s.roster, Images: s.images, Tags: s.tags(),
		Logs: s.files.Logs(), Artifacts: s.files, Settings: engineSettings(c, s.url, r.slots), Worker: workerName(),
		WorkDir: s.work.path, CacheDir: shared, Logger: s.log,
		Judge: schema.Judge,
		Ended: s.metrics.Ended, Tracer: s.tracer,
	})
	hosts.engine = s.engine
	answer := api.NewHealth
	if r.api {
		answer = api.New
	}
	s.http = &http.Server{
		Handler: answer(api.Options{
			Engine: s.engine, Store: s.store, Roster: s.roster, Logs: s.files.Logs(), Artifacts: s.files,
			Identity: func() api.Identity { return *s.identity.Load() }, Settings: func() *api.Settings { return apiSettings(s.config.Load()) }, Logger: s.log,
			Probes: s.probes(), Observer: s.metrics, Metrics: s.metrics.Handler(), Tracer: s.tracer, Version: version(),
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.own = &listeners{visitor: s.visitor, service: s.roster.Service, log: s.log}
	return s.openServices(c)
}

// openServices opens the addresses that services have of their own, where they
// run.
func (s *server) openServices(c *config.Config) error {
	if !s.roles.api {
		return nil
	}
	return s.own.apply(c)
}

// visitor returns who calls a service on an address of its own. What the engine
// does not recognize may be meant for the service.
func (s *server) visitor(r *http.Request) (string, error) {
	user, err := (*s.identity.Load()).User(r)
	if sdk.CodeOf(err) == sdk.Denied {
		return "", nil
	}
	return user, err
}

// listen opens the address of the API, or that of a worker's health if it has
// one.
func (s *server) listen(c *config.Config) (err error) {
	address := c.Server.Listen
	if !s.roles.api {
		s.url = c.Server.ExternalURL
		if address = s.roles.health; address == "" {
			return nil
		}
	}
	if s.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if s.roles.api {
		s.address = s.listener.Addr().String()
		s.url, s.listener, err = secured(c, s.listener)
	}
	return err
}

// tags returns the memories of the registries that the configuration in force
// names.
func (s *server) tags() *tags.Tags {
	return tags.New(tags.Options{
		Moves: s.store, Images: s.images, Mount: s.roster.Mount,
		Own:   func() string { return ownRegistry(s.config.Load(), s.address) },
		Quays: func() map[string]tags.Quay { return quays(s.config.Load()) },
	})
}

// run answers and works until ctx ends, then hands back what is running.
func (s *server) run(ctx context.Context) error {
	answering := make(chan error, 1)
	if s.listener != nil {
		go func() { answering <- s.http.Serve(s.listener) }()
	}

	// The API answers first: plugins may use it, and the registry is one.
	s.apply(ctx, s.config.Load())
	working, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.engine.Dispatch(working) })
	wg.Go(func() { s.engine.Reconcile(working) })
	wg.Go(func() { s.engine.Deliver(working) })
	wg.Go(func() { s.sweep(working) })
	if s.listener != nil {
		// The first list of a process reads all requests, which takes seconds
		// where there are a million; nobody should have to wait for it. If it
		// fails, the first who lists is told.
		wg.Go(func() { _, _, _ = s.store.List(working, core.Filter{}, core.Page{Size: 1}) })
	}
	served := make(chan error, 1)
	wg.Go(func() { served <- s.runQueues(working) })
	var fault error
	select {
	case <-ctx.Done():
	case fault = <-answering:
	case fault = <-served:
	}
	stop()
	wg.Wait()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	s.own.shutdown(drain)
	if err := s.http.Shutdown(drain); err != nil {
		_ = s.http.Close()
	}
	if ctx.Err() != nil || errors.Is(fault, http.ErrServerClosed) {
		return nil
	}
	return fault
}

// apply puts the plugins of a configuration in force. Its notifiers hear of all
// that happens from now on, also of what does before they run.
func (s *server) apply(ctx context.Context, c *config.Config) {
	var notifiers []string
	for _, p := range c.PluginsOf("notifier") {
		notifiers = append(notifiers, p.Name)
	}
	if err := s.engine.Subscribe(ctx, notifiers); err != nil && ctx.Err() == nil {
		s.log.Warn("notifiers may miss what happens until they run", "err", err)
	}
	if err := s.roster.Apply(ctx, s.roles.plugins(rosterConfig(c))); err != nil && ctx.Err() == nil {
		s.log.Error("some plugins do not run; they are tried again", "err", err)
	}
	s.engine.LineupChanged()
}

// reload puts a changed configuration in force. A file with mistakes changes
// nothing.
func (s *server) reload(ctx context.Context, path string, stderr io.Writer) {
	next, err := loadConfig(path, stderr)
	if err != nil {
		s.log.Error("the configuration was not reloaded", "err", err)
		return
	}
	if s.roles.api {
		if err := s.recognize(next); err != nil {
			s.log.Error("the configuration was not reloaded", "err", err)
			return
		}
	}
	change := config.Diff(s.config.Load(), next)
	s.config.Store(next)
	s.engine.Configure(engineSettings(next, s.url, s.roles.slots))
	if err := s.images.Configure(imageOptions(next, ownRegistry(next, s.address))); err != nil {
		s.log.Error("registries", "err", err)
	}
	s.apply(ctx, next)
	// The plugins come first: they may be what the requests of a new queue need.
	s.changeQueues(next)
	if err := s.openServices(next); err != nil {
		s.log.Error("some services do not answer on addresses of their own", "err", err)
	}
	s.log.Info("the configuration was reloaded", "change", fmt.Sprintf("%+v", change))
}

// recognize puts a configuration's ways to recognize callers in force.
func (s *server) recognize(c *config.Config) error {
	id, err := newIdentity(c, func(err error) { s.log.Error("the changed tokens are not in force", "err", err) })
	if err != nil {
		return err
	}
	s.identity.Store(&id)
	return nil
}

// close gives everything back, in the opposite order.
func (s *server) close() {
	if s.http != nil {
		_ = s.http.Close()
	}
	if s.own != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.own.shutdown(ended)
	}
	if s.roster != nil {
		s.roster.Close()
	}
	if s.work != nil {
		s.work.close()
	}
	if s.sockets != nil {
		s.sockets.close()
	}
	if s.queue != nil {
		_ = s.queue.Close()
	}
	if s.store != nil {
		_ = s.store.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if t, ok := s.tracer.(*tracing.Tracer); ok {
		t.Close()
	}
}

func newLogger(c *config.Config, out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Server.LogLevel))
	options := &slog.HandlerOptions{Level: level}
	if c.Server.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// workerName tells this process from every other that shares the store.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:6])
}
