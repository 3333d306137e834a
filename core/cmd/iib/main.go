// Command iib is the engine, and the command line for those who use it:
// `iib server` accepts and runs requests, `iib worker` runs them, `iib validate` checks iib.hcl, `iib doctor` all that
// the engine needs, and the
// client verbs submit and follow requests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, documented in docs/cli.md.
const (
	exitOK     = 0
	exitFault  = 1
	exitUsage  = 2
	exitFailed = 3
)

// exitError ends the program with a code, after its message was shown.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitFault
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	if message := err.Error(); message != "" {
		fmt.Fprintln(stderr, "iib:", message)
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "iib",
		Short:         "A build engine for operator index images",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(newServerCommand(), newWorkerCommand(), newValidateCommand(), newDoctorCommand(), newSweepCommand(), newPluginCommand(), newTokenCommand())
	root.AddCommand(newClientCommands()...)
	root.AddCommand(newNotifierCommand(), newEventsCommand(), newQueueCommand())
	judgeArguments(root)
	return root
}

// judgeArguments makes too many or too few arguments what they are: a wrong use.
func judgeArguments(c *cobra.Command) {
	if judge := c.Args; judge != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := judge(c, args); err != nil {
				return &exitError{exitUsage, fmt.Errorf("%w; usage: %s", err, c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		judgeArguments(sub)
	}
}
