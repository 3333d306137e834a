package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newNotifierCommand() *cobra.Command {
	c := &cobra.Command{Use: "notifier", Short: "Look at what notifiers have heard"}
	c.AddCommand(newNotifierListCommand(), newNotifierEventsCommand(), newNotifierForgetCommand())
	return c
}

func newEventsCommand() *cobra.Command {
	c := &cobra.Command{Use: "events", Short: "Deliver events again"}
	c.AddCommand(newReplayCommand())
	return c
}

// toServer makes a command that talks to a server.
func toServer(c *cobra.Command, do func(ctx context.Context, cl *client, args []string, output string, out io.Writer) error) *cobra.Command {
	var flags clientFlags
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := newClient(flags.server)
		if err != nil {
			return err
		}
		return do(c.Context(), cl, args, flags.output, c.OutOrStdout())
	}
	return flags.register(c)
}

func newNotifierListCommand() *cobra.Command {
	return toServer(&cobra.Command{
		Use: "list", Short: "List the notifiers, and how far each has come", Args: cobra.NoArgs,
		Long: "List the notifiers, and how far each has come.\n\n" +
			"BEHIND are events that were not looked at yet, WAITING those that were and are not\n" +
			"delivered, PARKED those that were given up: see `iib notifier events`, and deliver\n" +
			"them again with `iib events replay`.",
	}, func(ctx context.Context, cl *client, _ []string, output string, out io.Writer) error {
		var answer struct {
			Items []struct {
				Name          string
				Enabled       bool
				Behind        int64
				Waiting       int64
				Parked        int64
				LastDelivered string `json:"last_delivered"`
				LastFailed    string `json:"last_failed"`
				LastError     string `json:"last_error"`
			}
		}
		raw, err := cl.call(ctx, http.MethodGet, "/notifiers", nil, &answer)
		if err != nil {
			return err
		}
		if output == "json" {
			return indent(out, raw)
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tENABLED\tBEHIND\tWAITING\tPARKED\tLAST DELIVERED\tLAST FAILED\tLAST ERROR")
		for _, n := range answer.Items {
			fmt.Fprintf(table, "%s\t%t\t%d\t%d\t%d\t%s\t%s\t%s\n", n.Name, n.Enabled, n.Behind, n.Waiting, n.Parked,
				cmp.Or(n.LastDelivered, "-"), cmp.Or(n.LastFailed, "-"), cmp.Or(oneLine(n.LastError), "-"))
		}
		return table.Flush()
	})
}

func newNotifierEventsCommand() *cobra.Command {
	parked := false
	c := toServer(&cobra.Command{
		Use: "events NOTIFIER", Short: "List the events that a notifier has not taken, and why", Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, cl *client, args []string, output string, out io.Writer) error {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		if output != "json" {
			fmt.Fprintln(table, "EVENT\tKIND\tREQUEST\tBATCH\tSTATE\tATTEMPTS\tPARKED\tERROR")
		}
		for after := ""; ; {
			var answer struct {
				Items []struct {
					ID       string
					Kind     string
					Request  int64
					Batch    int64
					State    string
					Attempts int
					Parked   bool
					Error    string
				}
			}
			path := "/notifiers/" + url.PathEscape(args[0]) + "/events?after=" + after
			raw, err := cl.call(ctx, http.MethodGet, path, nil, &answer)
			if err != nil {
				return err
			}
			if output == "json" {
				return indent(out, raw)
			}
			if len(answer.Items) == 0 {
				return table.Flush()
			}
			for _, e := range answer.Items {
				after = e.ID
				if e.Parked || !parked {
					fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\t%t\t%s\n", e.ID, e.Kind, e.Request, e.Batch, e.State, e.Attempts, e.Parked, oneLine(e.Error))
				}
			}
		}
	})
	c.Flags().BoolVar(&parked, "parked", false, "only those that were given up")
	return c
}

func newNotifierForgetCommand() *cobra.Command {
	return toServer(&cobra.Command{
		Use: "forget NOTIFIER", Short: "Drop what a notifier that is no longer in use has not heard", Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, cl *client, args []string, _ string, out io.Writer) error {
		response, err := cl.open(ctx, http.MethodDelete, "/notifiers/"+url.PathEscape(args[0]), nil)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s is forgotten\n", args[0])
		response.Body.Close()
		return err
	})
}

func newReplayCommand() *cobra.Command {
	var choice struct {
		From    int64 `json:"from,omitempty"`
		To      int64 `json:"to,omitempty"`
		Request int64 `json:"request,omitempty"`
		Batch   int64 `json:"batch,omitempty"`
		Parked  bool  `json:"parked,omitempty"`
	}
	c := toServer(&cobra.Command{
		Use: "replay NOTIFIER", Short: "Deliver events to a notifier again", Args: cobra.ExactArgs(1),
		Long: "Deliver events to a notifier again, those that it has taken and those that are parked.\n\n" +
			"The flags choose which; several together choose what all of them do. Events keep\n" +
			"their IDs, so that receivers can tell a repetition.",
		Example: `  iib events replay webhook-notify --parked
  iib events replay webhook-notify --request 1234
  iib events replay amqp-notify --from 5000 --to 5999`,
	}, func(ctx context.Context, cl *client, args []string, output string, out io.Writer) error {
		if choice.From == 0 && choice.To == 0 && choice.Request == 0 && choice.Batch == 0 && !choice.Parked {
			return &exitError{exitUsage, fmt.Errorf("say which events: --parked, --request, --batch, --from or --to")}
		}
		var answer struct{ Events int64 }
		raw, err := cl.call(ctx, http.MethodPost, "/notifiers/"+url.PathEscape(args[0])+"/replay", choice, &answer)
		if err != nil {
			return err
		}
		if output == "json" {
			return indent(out, raw)
		}
		_, err = fmt.Fprintf(out, "%d events are delivered to %s again\n", answer.Events, args[0])
		return err
	})
	c.Flags().Int64Var(&choice.From, "from", 0, "from this event on")
	c.Flags().Int64Var(&choice.To, "to", 0, "up to this event")
	c.Flags().Int64Var(&choice.Request, "request", 0, "of this request")
	c.Flags().Int64Var(&choice.Batch, "batch", 0, "of this batch")
	c.Flags().BoolVar(&choice.Parked, "parked", false, "only those that were given up")
	return c
}

// oneLine keeps a text from breaking a table.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
