package serve

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/internal/wire"
)

// byHand answers a person who has started the program. Asked for help, it
// gives it; otherwise the same text comes with a failure, for a script that
// takes the plugin for something to run.
func byHand(s *wire.Server, args []string, stdout, stderr io.Writer) int {
	d, err := s.Description()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if len(args) == 1 {
		switch args[0] {
		case "-h", "-help", "--help", "help":
			usage(stdout, d)
			return 0
		case "-version", "--version", "version":
			fmt.Fprintln(stdout, d.Name, d.Version)
			return 0
		}
	}
	usage(stderr, d)
	return 1
}

func usage(w io.Writer, d *pb.DescribeResponse) {
	fmt.Fprintf(w, "%s %s is a plugin of the iib engine", d.Name, d.Version)
	if d.Doc != "" {
		fmt.Fprintf(w, ": %s", strings.TrimSuffix(d.Doc, "."))
	}
	fmt.Fprintf(w, ".\n\nThe engine starts it; it does nothing by itself. In iib.hcl:\n\n")
	for _, h := range d.Handlers {
		fmt.Fprintf(w, "  plugin %q { kind = \"handler\" }    # requests of type %s\n", d.Name, h.Type)
	}
	for _, kind := range []struct {
		name    string
		offered bool
	}{{"gate", d.Gate}, {"notifier", d.Notifier}, {"builder", d.Builder}, {"service", d.Service}} {
		if kind.offered {
			fmt.Fprintf(w, "  plugin %q { kind = %q }\n", d.Name, kind.name)
		}
	}
	if len(d.Customizers) > 0 {
		fmt.Fprintf(w, "  plugin %q { kind = \"customizer\" }\n", d.Name)
	}
	settings(w, "Settings in its config block:", d.Schema)
	for _, c := range d.Customizers {
		settings(w, fmt.Sprintf("Settings of customize %q:", c.Name), c.Schema)
	}
}

func settings(w io.Writer, title string, s *pb.Schema) {
	if len(s.GetAttributes()) == 0 && len(s.GetBlocks()) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n\n", title)
	var buf bytes.Buffer
	table := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	rows(table, "  ", s)
	table.Flush()
	for line := range strings.Lines(buf.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func rows(w io.Writer, indent string, s *pb.Schema) {
	for _, a := range s.GetAttributes() {
		note := "optional"
		switch {
		case a.Required:
			note = "required"
		case len(a.Default) > 0:
			note = "default " + string(a.Default)
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\n", indent, a.Name, typeName(a), note, a.Doc)
	}
	for _, b := range s.GetBlocks() {
		labels := ""
		for _, l := range b.Labels {
			labels += fmt.Sprintf(" %q", strings.ToUpper(l.Name))
		}
		note := "optional"
		switch {
		case b.Required:
			note = "required"
		case b.Repeated:
			note = "any number"
		}
		fmt.Fprintf(w, "%s%s%s {}\tblock\t%s\t%s\n", indent, b.Name, labels, note, b.Doc)
		rows(w, indent+"  ", b.Schema)
	}
}

func typeName(a *pb.Attribute) string {
	if a.Sensitive {
		return "secret"
	}
	switch a.Type {
	case pb.Type_TYPE_STRINGS:
		return "list of strings"
	case pb.Type_TYPE_STRING_MAP:
		return "map of strings"
	case pb.Type_TYPE_STRING_MAPS:
		return "map of maps of strings"
	}
	return strings.ToLower(strings.TrimPrefix(a.Type.String(), "TYPE_"))
}
