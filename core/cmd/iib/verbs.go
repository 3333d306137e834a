package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// clientFlags are those of every verb that talks to a server.
type clientFlags struct {
	server string
	output string
}

func (f *clientFlags) register(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.server, "server", "", "the engine's address (default $IIB_SERVER, then "+defaultServer+")")
	c.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	c.PreRunE = func(*cobra.Command, []string) error {
		if f.output != "text" && f.output != "json" {
			return &exitError{exitUsage, fmt.Errorf("--output is %q, and must be text or json", f.output)}
		}
		return nil
	}
	return c
}

// newClientCommands returns the verbs for people who submit and follow requests.
func newClientCommands() []*cobra.Command {
	return append(newRequestCommands(), newSubmitCommand(), newGetCommand(), newListCommand(), newWaitCommand(), newLogsCommand(), newCancelCommand(), newDiffCommand(), newTagCommand(), newOMPSCommand())
}

func newSubmitCommand() *cobra.Command {
	var flags clientFlags
	var wait bool
	c := &cobra.Command{
		Use:   "submit TYPE [BODY]",
		Short: "Submit a request; the body is JSON, from the argument or standard input",
		Example: `  iib submit add '{"bundles": ["quay.io/ns/bundle:v1"], "from_index": "quay.io/ns/index:v4.14"}' --wait
  iib submit rm <request.json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			body, err := readBody(c.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			b, err := cl.build(c.Context(), http.MethodPost, "/builds/"+url.PathEscape(args[0]), body)
			if err != nil {
				return err
			}
			if wait {
				return follow(c.Context(), cl, b.ID, flags.output, c.OutOrStdout())
			}
			return show(c.OutOrStdout(), b, flags.output)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "follow the request to its end; exit with 3 if it fails")
	return flags.register(c)
}

func readBody(stdin io.Reader, args []string) (json.RawMessage, error) {
	if len(args) == 1 {
		return json.RawMessage(args[0]), checkJSON([]byte(args[0]))
	}
	data, err := io.ReadAll(stdin)
	if err != nil {
		return nil, err
	}
	return data, checkJSON(data)
}

func checkJSON(data []byte) error {
	if !json.Valid(data) {
		return &exitError{exitUsage, fmt.Errorf("the body is not JSON")}
	}
	return nil
}

// verb makes a command that takes one request's ID.
func verb(use, short string, do func(ctx context.Context, cl *client, id int64, flags *clientFlags, out io.Writer) error) *cobra.Command {
	var flags clientFlags
	return flags.register(&cobra.Command{
		Use: use + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return &exitError{exitUsage, fmt.Errorf("%q is not a request's ID", args[0])}
			}
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			return do(c.Context(), cl, id, &flags, c.OutOrStdout())
		},
	})
}

func newGetCommand() *cobra.Command {
	return verb("get", "Show a request", func(ctx context.Context, cl *client, id int64, flags *clientFlags, out io.Writer) error {
		b, err := cl.build(ctx, http.MethodGet, fmt.Sprintf("/builds/%d", id), nil)
		if err != nil {
			return err
		}
		return show(out, b, flags.output)
	})
}

func newWaitCommand() *cobra.Command {
	return verb("wait", "Follow a request to its end; exit with 3 if it fails",
		func(ctx context.Context, cl *client, id int64, flags *clientFlags, out io.Writer) error {
			return follow(ctx, cl, id, flags.output, out)
		})
}

func newCancelCommand() *cobra.Command {
	return verb("cancel", "End a request that is in progress",
		func(ctx context.Context, cl *client, id int64, flags *clientFlags, out io.Writer) error {
			b, err := cl.build(ctx, http.MethodPost, fmt.Sprintf("/builds/%d/cancel", id), nil)
			if err != nil {
				return err
			}
			return show(out, b, flags.output)
		})
}

func newLogsCommand() *cobra.Command {
	var live bool
	c := verb("logs", "Print a request's log", func(ctx context.Context, cl *client, id int64, _ *clientFlags, out io.Writer) error {
		path := fmt.Sprintf("/builds/%d/logs", id)
		if live {
			path += "?follow=true"
		}
		response, err := cl.open(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(out, response.Body)
		return err
	})
	c.Flags().BoolVarP(&live, "follow", "f", false, "print the log as it grows, until the request ends")
	return c
}

func newListCommand() *cobra.Command {
	var flags clientFlags
	var state, requestType, user string
	var page int
	c := &cobra.Command{
		Use: "list", Short: "List requests, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			query := url.Values{"page": {strconv.Itoa(page)}, "all_types": {"true"}}
			for name, value := range map[string]string{"state": state, "request_type": requestType, "user": user} {
				if value != "" {
					query.Set(name, value)
				}
			}
			var answer struct {
				Items []build `json:"items"`
			}
			raw, err := cl.call(c.Context(), http.MethodGet, "/builds?"+query.Encode(), nil, &answer)
			if err != nil {
				return err
			}
			if flags.output == "json" {
				return indent(c.OutOrStdout(), raw)
			}
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tTYPE\tSTATE\tUPDATED\tREASON")
			for _, b := range answer.Items {
				fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", b.ID, b.Type, b.State, b.Updated, b.Reason)
			}
			return table.Flush()
		},
	}
	c.Flags().StringVar(&state, "state", "", "only in_progress, complete or failed ones")
	c.Flags().StringVar(&requestType, "type", "", "only of this request type")
	c.Flags().StringVar(&user, "user", "", "only of this user")
	c.Flags().IntVar(&page, "page", 1, "which page")
	return flags.register(c)
}

// follow prints each new state until the request has ended.
func follow(ctx context.Context, cl *client, id int64, output string, out io.Writer) error {
	shown := ""
	for {
		b, err := cl.build(ctx, http.MethodGet, fmt.Sprintf("/builds/%d?wait=1", id), nil)
		if err != nil {
			return err
		}
		if line := b.State + "  " + b.Reason; output == "text" && line != shown && !b.final() {
			fmt.Fprintln(out, line)
			shown = line
		}
		if !b.final() {
			continue
		}
		if err := show(out, b, output); err != nil {
			return err
		}
		if b.State == "failed" {
			return &exitError{exitFailed, fmt.Errorf("request %d failed", id)}
		}
		return nil
	}
}

func show(out io.Writer, b *build, output string) error {
	if output == "json" {
		return indent(out, b.raw)
	}
	_, err := fmt.Fprintf(out, "request %d (%s): %s\n  %s\n", b.ID, b.Type, b.State, b.Reason)
	return err
}

func indent(out io.Writer, raw json.RawMessage) error {
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err := text.WriteTo(out)
	return err
}
