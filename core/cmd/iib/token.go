package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/core/identity"
)

func newTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token USER",
		Short: `Make a token for a user, and the line of the tokens file that lets it in`,
		Long: "Make a token for a user of identity \"tokens\".\n\n" +
			"The token goes to standard output and is kept nowhere: hand it to the user.\n" +
			"The line for the tokens file goes to standard error; the engine reads that file again when it changes.",
		Example: `  iib token release-bot 2>>tokens`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			token, line, err := identity.NewToken(args[0])
			if err != nil {
				return &exitError{exitUsage, err}
			}
			fmt.Fprintln(c.ErrOrStderr(), line)
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
}
