package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/core/plugin"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

// trial is a plugin that was started to see whether it can be, and what it says
// of its settings.
type trial struct {
	plugin *config.Plugin
	// live is nil if it could not be started.
	live  *host.Plugin
	found config.Diagnostics
}

// trials are those of all enabled plugins, in the order of the file.
type trials struct {
	list    []*trial
	sockets *ownDir
}

// tryPlugins starts the enabled plugins, as many at once as there are
// processors. Each has as long as limit to tell what it has to; 0 is the time
// that a plugin has for its start. The caller ends them.
func tryPlugins(ctx context.Context, c *config.Config, limit time.Duration) (*trials, error) {
	sockets, err := openSocketDir()
	if err != nil {
		return nil, err
	}
	t := &trials{sockets: sockets}
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for _, p := range c.Plugins {
		if !p.Enabled {
			continue
		}
		one := &trial{plugin: p}
		t.list = append(t.list, one)
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			one.run(ctx, sockets.path, limit)
		})
	}
	wg.Wait()
	return t, nil
}

func (t *trial) run(ctx context.Context, sockets string, limit time.Duration) {
	p := t.plugin
	live, err := host.Launch(ctx, host.Command{
		Name: p.Name, Path: p.Path, SHA256: strings.TrimPrefix(p.Checksum, "sha256:"),
		Env: environment(p.Env), Insecure: p.InsecureTransport, SocketDir: sockets,
		Logger: slog.New(slog.DiscardHandler), StartTimeout: limit,
	})
	if err != nil {
		t.found = append(t.found, p.Rejected("", err.Error()))
		return
	}
	t.live = live
	if err := plugin.Offers(live.Describe(), plugin.Spec{Name: p.Name, Kind: plugin.Kind(p.Kind), Path: p.Path}); err != nil {
		t.found = append(t.found, p.Rejected("", err.Error()))
		return
	}
	values, mistakes := p.Values(configSchema(live.Describe().Schema))
	if t.found = append(t.found, mistakes...); mistakes.HasErrors() {
		return
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if err := judge(ctx, live, values); err != nil {
		t.found = append(t.found, rejected(&p.Body, err))
	}
}

// together tells what is wrong with the plugins as a whole: what none of them
// offers, and the settings of the steps of organizations.
func (t *trials) together(ctx context.Context, c *config.Config) config.Diagnostics {
	offers := make(map[string]config.Offer)
	launched := make(map[string]*host.Plugin)
	for _, one := range t.list {
		if one.live != nil {
			launched[one.plugin.Name] = one.live
			offers[one.plugin.Name] = offerOf(one.live.Describe())
		}
	}
	assignment, found := c.Assign(offers)
	for step, name := range assignment.Steps {
		if live := launched[name]; live != nil {
			found = append(found, checkStep(ctx, live, step)...)
		}
	}
	return found
}

// end ends the plugins and leaves nothing of them.
func (t *trials) end() {
	var wg sync.WaitGroup
	for _, one := range t.list {
		if one.live != nil {
			wg.Go(one.live.Kill)
		}
	}
	wg.Wait()
	t.sockets.close()
}

func judge(ctx context.Context, live *host.Plugin, values json.RawMessage) error {
	if err := live.Configure(ctx, values); err != nil {
		return err
	}
	return live.Validate(ctx)
}

func checkStep(ctx context.Context, live *host.Plugin, step *config.Customize) config.Diagnostics {
	for _, d := range live.Describe().Customizers {
		if d.Name != step.Type {
			continue
		}
		values, mistakes := step.Values(configSchema(d.Schema))
		if mistakes.HasErrors() {
			return mistakes
		}
		if err := live.ValidateCustomizer(ctx, d.Name, values); err != nil {
			return append(mistakes, rejected(&step.Body, err))
		}
		return mistakes
	}
	return nil
}

func offerOf(d *host.Description) config.Offer {
	var o config.Offer
	for _, h := range d.Handlers {
		o.Handlers = append(o.Handlers, h.Type)
	}
	for _, s := range d.Customizers {
		o.Customizers = append(o.Customizers, s.Name)
	}
	return o
}

// rejected puts a plugin's own error at the setting that it blames.
func rejected(body *config.Body, err error) config.Diagnostic {
	var coded *sdk.Error
	if errors.As(err, &coded) {
		return body.Rejected(coded.Field, coded.Message)
	}
	return body.Rejected("", err.Error())
}
