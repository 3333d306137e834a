package main

import (
	"bytes"
	"cmp"
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

func newQueueCommand() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Look at queues, pause and resume them"}
	c.AddCommand(newQueueListCommand(), newQueuePauseCommand(), newQueueResumeCommand())
	return c
}

func newQueueListCommand() *cobra.Command {
	return toServer(&cobra.Command{
		Use: "list", Short: "List the queues, and what waits and runs in each", Args: cobra.NoArgs,
		Long: "List the queues, and what waits and runs in each.\n\n" +
			"READY are those of the waiting requests that nothing but a free worker is needed for.\n" +
			"CONCURRENCY is what one process runs at the same time.",
	}, func(ctx context.Context, cl *client, _ []string, output string, out io.Writer) error {
		var answer struct {
			Items []struct {
				Name                  string
				Waiting               int64
				Ready                 int64
				Running               int64
				Concurrency, Priority *int
				Paused                bool
				PausedBy              string `json:"paused_by"`
				PausedSince           string `json:"paused_since"`
				PauseReason           string `json:"pause_reason"`
			}
		}
		raw, err := cl.call(ctx, http.MethodGet, "/queues", nil, &answer)
		if err != nil {
			return err
		}
		if output == "json" {
			return indent(out, raw)
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tWAITING\tREADY\tRUNNING\tCONCURRENCY\tPRIORITY\tPAUSED SINCE\tBY\tREASON")
		for _, q := range answer.Items {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", q.Name, q.Waiting, q.Ready, q.Running,
				numberOrDash(q.Concurrency), numberOrDash(q.Priority),
				cmp.Or(q.PausedSince, "-"), cmp.Or(oneLine(q.PausedBy), "-"), cmp.Or(oneLine(q.PauseReason), "-"))
		}
		return table.Flush()
	})
}

func numberOrDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func newQueuePauseCommand() *cobra.Command {
	var choice struct {
		Reason string `json:"reason"`
	}
	c := toServer(&cobra.Command{
		Use: "pause NAME", Short: "Let no request of a queue begin", Args: cobra.ExactArgs(1),
		Long: "Let no request of a queue begin. Requests are accepted as before, and those that run\n" +
			"go on. It holds for all processes, also when they are started again, until\n" +
			"`iib queue resume`.",
		Example: `  iib queue pause default --reason "the registry is being moved"`,
	}, func(ctx context.Context, cl *client, args []string, _ string, out io.Writer) error {
		return operateQueue(ctx, cl, args[0], "pause", choice, out)
	})
	c.Flags().StringVar(&choice.Reason, "reason", "", "why, for those who list the queues")
	return c
}

func newQueueResumeCommand() *cobra.Command {
	return toServer(&cobra.Command{
		Use: "resume NAME", Short: "End the pause of a queue", Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, cl *client, args []string, _ string, out io.Writer) error {
		return operateQueue(ctx, cl, args[0], "resume", nil, out)
	})
}

// operateQueue posts a body, which the verb may not need.
func operateQueue(ctx context.Context, cl *client, name, verb string, body any, out io.Writer) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	response, err := cl.open(ctx, http.MethodPost, "/queues/"+url.PathEscape(name)+"/"+verb, bytes.NewReader(data))
	if err != nil {
		return err
	}
	response.Body.Close()
	_, err = fmt.Fprintf(out, "queue %s is %sd\n", name, verb)
	return err
}
