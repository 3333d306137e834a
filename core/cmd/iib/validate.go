package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/config"
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
	trials, err := tryPlugins(ctx, c, 0)
	if err != nil {
		return nil, err
	}
	defer trials.end()
	var found config.Diagnostics
	for _, trial := range trials.list {
		found = append(found, trial.found...)
	}
	return append(found, trials.together(ctx, c)...), nil
}
