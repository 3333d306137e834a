package plugin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// The facades below look the live process up for each call, so that a request
// survives a plugin's restart between two of them.

type handler struct {
	process     *process
	requestType string
	accepts     bool
}

var (
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Previewer = (*handler)(nil)
)

func (h *handler) Handle(ctx context.Context, job *sdk.Job) error {
	live, err := h.process.use(ctx)
	if err != nil {
		return err
	}
	handler, err := live.Handler(h.requestType)
	if err != nil {
		return err
	}
	return h.process.ended(ctx, live, handler.Handle(ctx, job))
}

func (h *handler) Accept(ctx context.Context, sub *sdk.Submission) error {
	if !h.accepts {
		return nil
	}
	live, err := h.process.use(ctx)
	if err != nil {
		return err
	}
	handler, err := live.Handler(h.requestType)
	if err != nil {
		return err
	}
	return handler.Accept(ctx, sub)
}

func (h *handler) Preview(ctx context.Context, job *sdk.Job) (*sdk.Preview, error) {
	live, err := h.process.use(ctx)
	if err != nil {
		return nil, err
	}
	handler, err := live.Handler(h.requestType)
	if err != nil {
		return nil, err
	}
	return handler.Preview(ctx, job)
}

// call makes a call of the live process, for as long as the block's timeout.
func (p *process) call(ctx context.Context, do func(context.Context, *host.Plugin) error) error {
	live, err := p.use(ctx)
	if err != nil {
		return err
	}
	timeout := p.spec.Timeout
	if timeout <= 0 {
		return p.ended(ctx, live, do(ctx, live))
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err = do(bounded, live); err != nil && ctx.Err() == nil && passed(bounded) {
		return sdk.Errorf(sdk.Unavailable, "plugin %s did not answer within %s", p.spec.Name, timeout)
	}
	return p.ended(ctx, live, err)
}

// passed reports whether a context's deadline is over. Its timer may be a moment
// late.
func passed(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

type gate struct{ process *process }

func (g gate) Check(ctx context.Context, request *sdk.GateRequest) (verdict sdk.Verdict, err error) {
	err = g.process.call(ctx, func(ctx context.Context, live *host.Plugin) error {
		gate, err := live.Gate()
		if err != nil {
			return err
		}
		verdict, err = gate.Check(ctx, request)
		return err
	})
	return verdict, err
}

type notifier struct{ process *process }

func (n notifier) Notify(ctx context.Context, event *sdk.Event) error {
	live, err := n.process.use(ctx)
	if err != nil {
		return err
	}
	notifier, err := live.Notifier()
	if err != nil {
		return err
	}
	return n.process.ended(ctx, live, notifier.Notify(ctx, event))
}

// exitWait bounds how long a process is waited for whose connection broke.
const exitWait = time.Second

// ended tells a call during which the process ended from others that got no
// answer, and how it ended: a limit that it passed is named.
func (p *process) ended(ctx context.Context, live *host.Plugin, err error) error {
	if sdk.ReasonOf(err) != sdk.ReasonNoAnswer {
		return err
	}
	timer := time.NewTimer(exitWait)
	defer timer.Stop()
	select {
	case <-live.Exited():
		ended := sdk.Errorf(sdk.Unavailable, "plugin %s ended during the call: %s", p.spec.Name, live.Outcome())
		ended.Reason = core.ReasonEnded
		return ended
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}

type builderOf struct{ process *process }

func (b builderOf) Build(ctx context.Context, spec *sdk.BuildSpec) (digest sdk.Digest, err error) {
	err = b.process.call(ctx, func(ctx context.Context, live *host.Plugin) error {
		builder, err := live.Builder()
		if err != nil {
			return err
		}
		digest, err = builder.Build(ctx, spec)
		return err
	})
	return digest, err
}

type customizer struct {
	process *process
	name    string
	values  json.RawMessage
}

func (c customizer) Customize(ctx context.Context, bundle *sdk.Bundle) error {
	return c.process.call(ctx, func(ctx context.Context, live *host.Plugin) error {
		step, err := live.Customizer(ctx, c.name, c.values)
		if err != nil {
			return err
		}
		err = step.Customize(ctx, bundle)
		if release := step.Release(context.WithoutCancel(ctx)); err == nil {
			err = release
		}
		return err
	})
}
