package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/config"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/host"
)

func newValidateCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration, with the settings of its plugins, and name every mistake",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := "iib.hcl"
			if len(args) == 1 {
				path = args[0]
			}
			return validate(c.Context(), path, show, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().BoolVar(&show, "show", false, "print the configuration in force, without secrets")
	return c
}

func validate(ctx context.Context, path string, show bool, stdout, stderr io.Writer) error {
	c, err := loadConfig(path, stderr)
	if err != nil {
		return err
	}
	diagnostics := c.CheckFiles()
	if !diagnostics.HasErrors() {
		mistakes, err := checkPlugins(ctx, c)
		if err != nil {
			return err
		}
		diagnostics = append(diagnostics, mistakes...)
	}
	if err := diagnostics.WriteTerminal(stderr, false); err != nil {
		return err
	}
	if diagnostics.HasErrors() {
		return &exitError{exitFault, fmt.Errorf("%s has mistakes", path)}
	}
	if show {
		_, err := stdout.Write(c.Show())
		return err
	}
	fmt.Fprintf(stdout, "%s is valid.\n", path)
	return nil
}

// checkPlugins starts every enabled plugin and lets it judge its settings. The
// plugins are not used: only what can be said without network and disk is.
func checkPlugins(ctx context.Context, c *config.Config) (config.Diagnostics, error) {
	sockets, err := openSocketDir()
	if err != nil {
		return nil, err
	}
	defer sockets.close()
	var found config.Diagnostics
	offers := make(map[string]config.Offer)
	launched := make(map[string]*host.Plugin)
	defer func() {
		for _, p := range launched {
			p.Kill()
		}
	}()
	for _, p := range c.Plugins {
		if !p.Enabled {
			continue
		}
		live, err := host.Launch(ctx, host.Command{
			Name: p.Name, Path: p.Path, SHA256: strings.TrimPrefix(p.Checksum, "sha256:"),
			Env: environment(p.Env), Insecure: p.InsecureTransport, SocketDir: sockets.path,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			found = append(found, p.Rejected("", err.Error()))
			continue
		}
		launched[p.Name] = live
		offers[p.Name] = offerOf(live.Describe())
		values, mistakes := p.Values(configSchema(live.Describe().Schema))
		if found = append(found, mistakes...); mistakes.HasErrors() {
			continue
		}
		if err := judge(ctx, live, values); err != nil {
			found = append(found, rejected(&p.Body, err))
		}
	}
	assignment, mistakes := c.Assign(offers)
	found = append(found, mistakes...)
	for step, name := range assignment.Steps {
		live := launched[name]
		if live == nil {
			continue
		}
		found = append(found, checkStep(ctx, live, step)...)
	}
	return found, nil
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
