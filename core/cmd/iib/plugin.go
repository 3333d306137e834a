package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/iib-engine/iib/sdk/host"
)

func newPluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Look at plugins"}
	c.AddCommand(newPluginListCommand(), newPluginDescribeCommand(), newPluginReloadCommand())
	return c
}

func newPluginListCommand() *cobra.Command {
	var flags clientFlags
	c := &cobra.Command{
		Use: "list", Short: "List the plugins of a running engine", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			var answer struct {
				Items []struct {
					Name      string `json:"name"`
					Kind      string `json:"kind"`
					Version   string `json:"version"`
					Checksum  string `json:"checksum"`
					State     string `json:"state"`
					Restarts  int    `json:"restarts"`
					LastError string `json:"last_error"`
				} `json:"items"`
			}
			raw, err := cl.call(c.Context(), http.MethodGet, "/plugins", nil, &answer)
			if err != nil {
				return err
			}
			if flags.output == "json" {
				return indent(c.OutOrStdout(), raw)
			}
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tKIND\tVERSION\tCHECKSUM\tSTATE\tRESTARTS\tLAST ERROR")
			for _, p := range answer.Items {
				checksum := p.Checksum
				if len(checksum) > 12 {
					checksum = checksum[:12]
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", p.Name, p.Kind, p.Version, checksum, p.State, p.Restarts, oneLine(p.LastError))
			}
			return table.Flush()
		},
	}
	return flags.register(c)
}

func newPluginDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "describe FILE", Short: "Start a plugin and show what it offers and which settings it has", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			sockets, err := openSocketDir()
			if err != nil {
				return err
			}
			defer sockets.close()
			live, err := host.Launch(c.Context(), host.Command{Path: args[0], SocketDir: sockets.path, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			defer live.Kill()
			d := live.Describe()
			out := c.OutOrStdout()
			fmt.Fprintf(out, "%s %s\n%s\n", d.Name, d.Version, d.Doc)
			for _, h := range d.Handlers {
				fmt.Fprintf(out, "\nhandles %s: %s\n", h.Type, h.Doc.Summary)
			}
			for kind, offered := range map[string]bool{"gate": d.Gate, "notifier": d.Notifier, "builder": d.Builder, "service": d.Service} {
				if offered {
					fmt.Fprintf(out, "\nis a %s\n", kind)
				}
			}
			describeSchema(c, "settings of its config block", d.Schema)
			for _, s := range d.Customizers {
				describeSchema(c, "customize "+s.Name, s.Schema)
			}
			return nil
		},
	}
}

func describeSchema(c *cobra.Command, title string, s host.Schema) {
	out := c.OutOrStdout()
	fmt.Fprintf(out, "\n%s:\n", title)
	if len(s.Attributes) == 0 && len(s.Blocks) == 0 {
		fmt.Fprintln(out, "  none")
	}
	for _, a := range s.Attributes {
		need := "optional"
		if a.Required {
			need = "required"
		}
		fmt.Fprintf(out, "  %s (%s, %s)\n      %s\n", a.Name, a.Type, need, a.Doc)
	}
	for _, b := range s.Blocks {
		describeSchema(c, "  block "+b.Name+": "+b.Doc, b.Schema)
	}
}
