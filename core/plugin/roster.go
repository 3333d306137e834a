package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// Options are what a roster needs besides its configuration.
type Options struct {
	// Host makes the engine as the plugin of that name sees it. It is called
	// from the first Apply on.
	Host func(plugin string) (sdk.Host, error)
	// SocketDir is where plugins' sockets are made, each in a private directory.
	// A socket's address is short: so must be this path.
	SocketDir string
	Logger    *slog.Logger
}

// Roster is the plugins in force. It is safe for concurrent use.
type Roster struct {
	options Options

	// applying serializes Apply and Close.
	applying sync.Mutex

	mu        sync.Mutex
	config    Config
	processes map[string]*process
	current   *lineup
	// applied tells that there was a configuration.
	applied bool
}

// New returns a roster without plugins.
func New(o Options) *Roster {
	r := &Roster{options: o, processes: make(map[string]*process)}
	r.current = &lineup{refs: 1}
	return r
}

// Apply makes the roster what config says. Plugins whose block did not change
// go on; requests that run keep what they began with. It returns when every
// new plugin was started or could not be, with an error that names those; they
// are tried again with back-off, and the rest is in force.
func (r *Roster) Apply(ctx context.Context, config Config) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	next := make(map[string]*process, len(config.Plugins))
	for _, spec := range config.Plugins {
		r.mu.Lock()
		p := r.processes[spec.Name]
		r.mu.Unlock()
		if p == nil || p.spec.Fingerprint != spec.Fingerprint {
			p = r.newProcess(spec)
		}
		next[spec.Name] = p
	}
	var errs []error
	for _, spec := range config.Plugins {
		p := next[spec.Name]
		select {
		case <-p.attempted:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("plugin %s: %w", spec.Name, ctx.Err()))
			continue
		}
		if status := p.status(); status.State != string(Running) {
			errs = append(errs, fmt.Errorf("plugin %s: %w", spec.Name, status.LastError))
		}
	}
	r.mu.Lock()
	r.config, r.processes, r.applied = config, next, true
	r.mu.Unlock()
	if err := r.rebuild(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rebuild makes the line-up from what is known of the processes, and retires
// the former one.
func (r *Roster) rebuild() error {
	r.mu.Lock()
	next, err := r.newLineup()
	former := r.current
	r.current = next
	for _, p := range next.processes {
		p.refs++
	}
	r.mu.Unlock()
	r.release(former)
	return err
}

// Acquire returns the line-up and keeps its plugins alive until release, which
// may be called more than once.
func (r *Roster) Acquire() (core.Lineup, func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.current
	l.refs++
	var once sync.Once
	return l, func() { once.Do(func() { r.release(l) }) }
}

// release gives a line-up back; the last one stops the plugins that no other
// line-up has.
func (r *Roster) release(l *lineup) {
	r.mu.Lock()
	l.refs--
	var retired []*process
	if l.refs == 0 {
		for _, p := range l.processes {
			if p.refs--; p.refs == 0 {
				retired = append(retired, p)
			}
		}
	}
	r.mu.Unlock()
	for _, p := range retired {
		go p.stop()
	}
}

// Mount returns the service that answers a path: the one with the longest
// mount that the path begins with.
func (r *Roster) Mount(path string) (http.Handler, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var best *process
	longest := ""
	for _, p := range r.current.processes {
		for _, mount := range p.spec.Mounts {
			if (strings.HasPrefix(path, mount) || path+"/" == mount) && len(mount) > len(longest) {
				best, longest = p, mount
			}
		}
	}
	if best == nil {
		return nil, false
	}
	return r.serving(best), true
}

// Complete reports whether all is known that the plugins in force answer: the
// first Apply has ended, and all that may handle requests have run at least once.
func (r *Roster) Complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.applied {
		return false
	}
	for _, p := range r.current.processes {
		if p.spec.Kind != KindHandler && p.spec.Kind != KindService {
			continue
		}
		p.mu.Lock()
		known := p.description != nil
		p.mu.Unlock()
		if !known {
			return false
		}
	}
	return true
}

// Service returns a plugin of kind service by its name.
func (r *Roster) Service(name string) (http.Handler, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.current.processes {
		if p.spec.Name == name && p.spec.Kind == KindService {
			return r.serving(p), true
		}
	}
	return nil, false
}

// serving hands requests to a plugin, which may not run at present.
func (r *Roster) serving(p *process) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, release := r.Acquire()
		defer release()
		service, err := p.service(request.Context())
		if err != nil {
			r.options.Logger.Warn("service", "plugin", p.spec.Name, "err", err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("The plugin %s does not run at present.", p.spec.Name), http.StatusServiceUnavailable)
			return
		}
		ctx := host.WithUser(request.Context(), request.Header.Get(sdk.UserHeader))
		service.ServeHTTP(w, request.WithContext(ctx))
	})
}

// Applied tells whether there was a configuration. Until then there are no
// plugins, which says nothing about those to come.
func (r *Roster) Applied() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied
}

// Status returns the plugins in the file's order.
func (r *Roster) Status() []core.PluginStatus {
	r.mu.Lock()
	config, processes := r.config, r.processes
	r.mu.Unlock()
	list := make([]core.PluginStatus, 0, len(config.Plugins))
	for _, spec := range config.Plugins {
		list = append(list, processes[spec.Name].status())
	}
	return list
}

func (p *process) status() core.PluginStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := core.PluginStatus{
		Name: p.spec.Name, Kind: string(p.spec.Kind), SHA256: p.spec.SHA256,
		State: string(p.state), Restarts: p.restarts, LastError: p.lastError,
	}
	if p.description != nil {
		s.Version, s.SHA256 = p.description.Version, p.sum
	}
	return s
}

// Close stops every plugin and waits for it.
func (r *Roster) Close() {
	r.applying.Lock()
	defer r.applying.Unlock()
	r.mu.Lock()
	all := make(map[*process]bool)
	for _, p := range r.processes {
		all[p] = true
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for p := range all {
		wg.Go(p.stop)
	}
	wg.Wait()
}
