package host

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"sync"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// Plugin is a running plugin. Its methods are safe for concurrent use.
type Plugin struct {
	name   string
	logger *slog.Logger
	proc   *process
	client *goplugin.Client
	conn   *wire.Conn
	offers offers

	once sync.Once
	gone chan struct{} // closed when nothing is left of it
	mu   sync.Mutex
	idle []func() // close idle connections to services
}

// connect waits for the handshake, connects, and asks what there is.
func (p *Plugin) connect(ctx context.Context) error {
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	if p.conn, err = wire.NewConn(p.name, protocol, p.logger); err != nil {
		return err
	}
	if err := p.Ping(ctx); err != nil {
		return err
	}
	// Again: a Go program that has begun to run may just then have set the
	// number of its files to what it was allowed before.
	if err := p.proc.command.Limits.impose(p.PID()); err != nil {
		return err
	}
	d, err := p.conn.Describe(ctx)
	if err != nil {
		return err
	}
	p.offers, err = newOffers(d)
	return err
}

// Name returns Command.Name.
func (p *Plugin) Name() string { return p.name }

// PID returns the number of the plugin's process.
func (p *Plugin) PID() int { return p.proc.cmd.Process.Pid }

// SHA256 returns the checksum of the program that was started, as 64
// hexadecimal digits.
func (p *Plugin) SHA256() string { return hex.EncodeToString(p.proc.program.sum[:]) }

// Describe returns what the plugin said that it offers. The caller must not
// change it.
func (p *Plugin) Describe() *Description { return &p.offers.Description }

// Configure sends the values of the plugin's config block: a JSON object by
// the names of Description.Schema; nil is the empty object. It may succeed once.
// Whatever is wrong with the settings comes in one error: if there is more than
// one mistake, it unwraps to a list, as that of errors.Join does. Each is an
// Invalid *sdk.Error whose Field is the path of the setting at fault, such as
// "query[1].url".
func (p *Plugin) Configure(ctx context.Context, config json.RawMessage) error {
	return p.conn.Configure(ctx, config)
}

// Validate has the plugin check its settings. It comes after Configure and
// before Start, and its error is like that of Configure.
func (p *Plugin) Validate(ctx context.Context) error { return p.conn.Validate(ctx) }

// ValidateCustomizer has the plugin check the settings of a customize block.
// The plugin need not be configured for it.
func (p *Plugin) ValidateCustomizer(ctx context.Context, name string, config json.RawMessage) error {
	return p.conn.ValidateCustomizer(ctx, name, config)
}

// Start starts the plugin; what it asks of the engine outside of runs goes to
// h, which may be nil. A plugin whose Start failed can only be closed.
func (p *Plugin) Start(ctx context.Context, h sdk.Host) error {
	return p.conn.Start(ctx, h, p.offers.callsEngine)
}

// Close refuses new calls, waits for the running ones, lets the plugin give
// back what it has, and ends the process; when ctx ends, at once. The error is
// the plugin's.
func (p *Plugin) Close(ctx context.Context) error {
	err := p.conn.Close(ctx)
	p.Kill()
	return err
}

// Kill ends the process, and what it has started, and waits until nothing is
// left of it: no socket, no directory.
func (p *Plugin) Kill() {
	p.proc.kill()
	<-p.gone
}

// Exited is closed when the process has ended, in whatever way.
func (p *Plugin) Exited() <-chan struct{} { return p.proc.exited }

// Outcome waits for the process to end and tells how it did, such as "signal:
// killed".
func (p *Plugin) Outcome() string {
	<-p.proc.exited
	return p.proc.outcome.Error()
}

// Ping asks the plugin whether it serves. A plugin that does not answer until
// ctx ends hangs.
func (p *Plugin) Ping(ctx context.Context) error {
	resp, err := grpc_health_v1.NewHealthClient(p.conn.GRPC()).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: goplugin.GRPCServiceName})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return sdk.Errorf(sdk.Unavailable, "plugin %s: ping: %v", p.name, err)
	}
	if resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return sdk.Errorf(sdk.Unavailable, "plugin %s: ping: its health is %v", p.name, resp.Status)
	}
	return nil
}

// cleanUp removes what is left of a process that has ended or will soon.
func (p *Plugin) cleanUp() {
	p.once.Do(func() {
		defer close(p.gone)
		if p.proc.cmd != nil && p.proc.cmd.Process != nil {
			<-p.proc.exited
		}
		p.client.Kill() // waits for go-plugin's goroutines
		if p.conn != nil {
			p.conn.Release()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, closeIdle := range p.idle {
			closeIdle()
		}
		if p.proc.dir != "" {
			_ = os.RemoveAll(p.proc.dir)
		}
	})
	<-p.gone
}
