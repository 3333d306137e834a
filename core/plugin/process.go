package plugin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// Back-off of restarts, and how a plugin that hangs is found.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	// healthyAfter is how long a plugin must live for its next death to count
	// as the first.
	healthyAfter = time.Minute
	pingEvery    = 2 * time.Second
	pingTimeout  = 3 * time.Second
	// restartWait is how long a call waits for a plugin that is being started.
	restartWait = 10 * time.Second
	// hopelessPause is the pause from which on calls do not wait.
	hopelessPause = time.Second
	// closeTimeout bounds how long a retired plugin may take to give back what
	// it has.
	closeTimeout  = 10 * time.Second
	launchTimeout = 15 * time.Second
	startTimeout  = 30 * time.Second
)

// State is where a plugin's process stands.
type State string

const (
	Starting State = "starting"
	Running  State = "running"
	BackOff  State = "backing off"
	Stopped  State = "stopped"
)

// process is a plugin block's process, through all its restarts.
type process struct {
	spec    Spec
	roster  *Roster
	cancel  context.CancelFunc
	stopped chan struct{}
	// attempted is closed after the first start, good or bad.
	attempted chan struct{}

	// refs counts the line-ups that have this process; the roster's lock
	// guards it.
	refs int

	mu          sync.Mutex
	live        *host.Plugin
	description *host.Description
	state       State
	restarts    int
	// pause is how long the next restart waits; sum is the checksum of the
	// program that was started last.
	pause     time.Duration
	sum       string
	lastError error
	changed   chan struct{}
	// served is the HTTP side of the live process that is servedBy.
	served   http.Handler
	servedBy *host.Plugin
}

func (r *Roster) newProcess(spec Spec) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		spec: spec, roster: r, cancel: cancel, state: Starting,
		stopped: make(chan struct{}), attempted: make(chan struct{}), changed: make(chan struct{}),
	}
	go p.supervise(ctx)
	return p
}

// supervise keeps the process alive until ctx ends.
func (p *process) supervise(ctx context.Context) {
	defer close(p.stopped)
	// Who waits for the first attempt reads its outcome: that comes first.
	attempted := sync.OnceFunc(func() { close(p.attempted) })
	defer attempted()
	log := p.roster.options.Logger.With("plugin", p.spec.Name)
	pause := firstPause
	for first := true; ; first = false {
		began := time.Now()
		live, err := p.start(ctx)
		if err == nil {
			p.become(Running, live, nil)
			attempted()
			log.Info("plugin runs", "version", live.Describe().Version)
			if !first {
				if err := p.roster.rebuild(); err != nil {
					log.Error("line-up", "err", err)
				}
			}
			err = p.watch(ctx, live)
		}
		if ctx.Err() != nil {
			p.become(Stopped, nil, err)
			return
		}
		if time.Since(began) > healthyAfter {
			pause = firstPause
		}
		log.Error("plugin ended", "err", err, "restart_in", pause.String())
		p.mu.Lock()
		p.pause = pause
		p.mu.Unlock()
		p.become(BackOff, nil, err)
		attempted()
		select {
		case <-ctx.Done():
			p.become(Stopped, nil, nil)
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		p.become(Starting, nil, err)
	}
}

// become changes the state and wakes all who wait for it. What a plugin offers
// stays known while it restarts.
func (p *process) become(state State, live *host.Plugin, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if state == BackOff {
		p.restarts++
	}
	p.state, p.live = state, live
	if live != nil {
		p.description, p.sum = live.Describe(), live.SHA256()
	}
	if err != nil {
		p.lastError = err
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// start launches the program and brings it to where calls may begin.
func (p *process) start(ctx context.Context) (*host.Plugin, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	o := p.roster.options
	live, err := host.Launch(ctx, host.Command{
		Name: p.spec.Name, Path: p.spec.Path, SHA256: p.spec.SHA256,
		Env: p.spec.Env, Insecure: p.spec.Insecure, SocketDir: o.SocketDir,
		Logger: o.Logger.With("plugin", p.spec.Name), StartTimeout: launchTimeout,
		Limits: p.spec.Limits,
	})
	if err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, live); err != nil {
		live.Kill()
		return nil, err
	}
	return live, nil
}

// prepare configures and starts what was launched.
func (p *process) prepare(ctx context.Context, live *host.Plugin) error {
	description := live.Describe()
	if err := Offers(description, p.spec); err != nil {
		return err
	}
	values, err := p.spec.Values(description.Schema)
	if err != nil {
		return err
	}
	if err := live.Configure(ctx, values); err != nil {
		return err
	}
	if err := live.Validate(ctx); err != nil {
		return err
	}
	self, err := p.roster.options.Host(p.spec.Name)
	if err != nil {
		return err
	}
	return live.Start(ctx, self)
}

// Offers checks that the program is what its block says it may be.
func Offers(d *host.Description, spec Spec) error {
	has := map[Kind]bool{
		KindHandler: len(d.Handlers) > 0, KindGate: d.Gate, KindNotifier: d.Notifier,
		KindCustomizer: len(d.Customizers) > 0, KindBuilder: d.Builder, KindService: d.Service,
	}
	if !has[spec.Kind] {
		return sdk.Errorf(sdk.Invalid, "plugin %s: the program %s is no %s", spec.Name, spec.Path, spec.Kind)
	}
	return nil
}

// watch returns when the process has ended, after ending it if it hangs or is
// no longer wanted.
func (p *process) watch(ctx context.Context, live *host.Plugin) error {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-live.Exited():
			return fmt.Errorf("the process ended by itself: %s", live.Outcome())
		case <-ctx.Done():
			call, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			if err := live.Close(call); err != nil {
				p.roster.options.Logger.Warn("close a plugin", "plugin", p.spec.Name, "err", err)
			}
			return nil
		case <-ticker.C:
		}
		call, cancel := context.WithTimeout(ctx, pingTimeout)
		err := live.Ping(call)
		cancel()
		if err != nil && ctx.Err() == nil {
			live.Kill()
			return fmt.Errorf("the process did not answer within %s and was ended: %w", pingTimeout, err)
		}
	}
}

// use returns the live process, waiting a while for one that is restarted, but
// not for one that has ended again and again.
func (p *process) use(ctx context.Context) (*host.Plugin, error) {
	over := time.NewTimer(restartWait)
	defer over.Stop()
	for {
		p.mu.Lock()
		live, state, changed, lastError := p.live, p.state, p.changed, p.lastError
		hopeless := state == BackOff && p.pause > hopelessPause
		p.mu.Unlock()
		if live != nil {
			return live, nil
		}
		away := sdk.Errorf(sdk.Unavailable, "plugin %s does not run (%s): %v", p.spec.Name, state, lastError)
		if state == Stopped || hopeless {
			return nil, away
		}
		select {
		case <-changed:
		case <-over.C:
			return nil, away
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stop ends the process and waits for it.
func (p *process) stop() {
	p.cancel()
	<-p.stopped
}

// service returns the HTTP side of the live process.
func (p *process) service(ctx context.Context) (http.Handler, error) {
	live, err := p.use(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.served == nil || p.servedBy != live {
		service, err := live.Service(ctx, host.ServiceOptions{PassCredentials: p.spec.PassCredentials})
		if err != nil {
			return nil, err
		}
		p.served, p.servedBy = service, live
	}
	return p.served, nil
}
