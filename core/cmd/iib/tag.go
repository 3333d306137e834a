package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// newTagCommand returns the verbs about what tags were.
func newTagCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tag",
		Short: "Show what a tag has been, and make it that again",
		Long: "Show what a tag has been, and make it that again.\n\n" +
			"A POINT of a tag's past is a digest, or a time such as 2026-11-28T12:00:00Z.",
	}
	c.AddCommand(newTagHistoryCommand(), newTagRestoreCommand(), newTagExpireCommand(), newTagDiffCommand())
	return c
}

// tagVerb makes a command whose first argument is a tag.
func tagVerb(use, short string, args cobra.PositionalArgs, do func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error) *cobra.Command {
	var flags clientFlags
	return flags.register(&cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			return do(c.Context(), cl, args, &flags, c.OutOrStdout())
		},
	})
}

func newTagHistoryCommand() *cobra.Command {
	page := 1
	c := tagVerb("history REF", "List what a tag has been, newest first", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error {
			var answer struct {
				Registry string `json:"registry"`
				More     bool   `json:"has_additional"`
				Items    []struct {
					Digest   string  `json:"digest"`
					From     *string `json:"from"`
					Until    *string `json:"until"`
					Alive    bool    `json:"alive"`
					Restored bool    `json:"restored"`
					Request  *int64  `json:"request"`
					User     *string `json:"user"`
				} `json:"items"`
			}
			query := url.Values{"tag": {args[0]}, "page": {strconv.Itoa(page)}}
			raw, err := cl.call(ctx, http.MethodGet, "/tags/history?"+query.Encode(), nil, &answer)
			if err != nil || flags.output == "json" {
				return orIndent(out, raw, err)
			}
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "FROM\tUNTIL\tDIGEST\tHOW\tUSER")
			for _, p := range answer.Items {
				how := "-"
				switch {
				case p.Request != nil:
					how = fmt.Sprintf("request %d", *p.Request)
				case p.Restored:
					how = "restored"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", orDash(p.From), orDash(p.Until), p.Digest, how, orDash(p.User))
			}
			if err := table.Flush(); err != nil {
				return err
			}
			if answer.More {
				fmt.Fprintf(out, "more: --page %d\n", page+1)
			}
			return nil
		})
	c.Flags().IntVar(&page, "page", 1, "which page")
	return c
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func orIndent(out io.Writer, raw json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	return indent(out, raw)
}

// moved is the answer to a change of a tag.
type moved struct {
	Tag  string  `json:"tag"`
	From *string `json:"from_digest"`
	To   *string `json:"to_digest"`
	At   *string `json:"at"`
}

func newTagRestoreCommand() *cobra.Command {
	return tagVerb("restore REF POINT", "Make a tag what it was", cobra.ExactArgs(2),
		func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error {
			var m moved
			raw, err := cl.call(ctx, http.MethodPost, "/tags/restore", map[string]string{"tag": args[0], "point": args[1]}, &m)
			if err != nil || flags.output == "json" {
				return orIndent(out, raw, err)
			}
			_, err = fmt.Fprintf(out, "%s is %s again; it was %s\n", m.Tag, orDash(m.To), orDash(m.From))
			return err
		})
}

func newTagExpireCommand() *cobra.Command {
	return tagVerb("expire REF WHEN", "Set when a tag ends: a time, 48h, now, or never", cobra.ExactArgs(2),
		func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error {
			at, err := readWhen(args[1], time.Now())
			if err != nil {
				return err
			}
			var m moved
			raw, err := cl.call(ctx, http.MethodPost, "/tags/expire", map[string]any{"tag": args[0], "at": at}, &m)
			if err != nil || flags.output == "json" {
				return orIndent(out, raw, err)
			}
			switch {
			case at == nil:
				_, err = fmt.Fprintf(out, "%s has no end\n", args[0])
			case *at == "now":
				_, err = fmt.Fprintf(out, "%s is gone; it was %s\n", m.Tag, orDash(m.From))
			default:
				_, err = fmt.Fprintf(out, "%s ends at %s\n", args[0], *at)
			}
			return err
		})
}

// readWhen turns the argument into the API's word; nil is never.
func readWhen(text string, now time.Time) (*string, error) {
	switch text {
	case "never":
		return nil, nil
	case "now":
		return &text, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		text = now.Add(d).UTC().Format(time.RFC3339)
		return &text, nil
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%q is not a time such as 2026-11-28T12:00:00Z, a duration such as 48h, now or never", text)}
	}
	return &text, nil
}

func newTagDiffCommand() *cobra.Command {
	return tagVerb("diff REF POINT [POINT]", "Show what differs between an index then, and later or now", cobra.RangeArgs(2, 3),
		func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error {
			images := make([]string, 2)
			for i := range images {
				point := ""
				if i+1 < len(args) {
					point = args[i+1]
				}
				var at struct{ Tag, Digest string }
				query := url.Values{"tag": {args[0]}, "point": {point}}
				if _, err := cl.call(ctx, http.MethodGet, "/tags/point?"+query.Encode(), nil, &at); err != nil {
					return err
				}
				images[i] = at.Tag[:strings.LastIndexByte(at.Tag, ':')] + "@" + at.Digest
			}
			return diff(ctx, cl, images[0], images[1], flags.output, out)
		})
}

// diff asks for the comparison of two indexes and prints it.
func diff(ctx context.Context, cl *client, from, to, output string, out io.Writer) error {
	b, err := cl.build(ctx, http.MethodPost, "/builds/index-diff", map[string]string{"from_index": from, "to_index": to})
	if err != nil {
		return err
	}
	if err := follow(ctx, cl, b.ID, "quiet", io.Discard); err != nil {
		if b, getErr := cl.build(ctx, http.MethodGet, fmt.Sprintf("/builds/%d", b.ID), nil); getErr == nil {
			return &exitError{exitFailed, fmt.Errorf("%s", b.Reason)}
		}
		return err
	}
	var answer differences
	raw, err := cl.call(ctx, http.MethodGet, fmt.Sprintf("/builds/%d/index-diff", b.ID), nil, &answer)
	if err != nil || output == "json" {
		return orIndent(out, raw, err)
	}
	return answer.print(out)
}

// differences is the artifact of an index-diff request.
type differences struct {
	From     string `json:"from_index"`
	To       string `json:"to_index"`
	Packages []struct {
		Package         string                     `json:"package"`
		Added           bool                       `json:"added"`
		Removed         bool                       `json:"removed"`
		DefaultChannel  *struct{ From, To string } `json:"default_channel"`
		ChannelsAdded   []string                   `json:"channels_added"`
		ChannelsRemoved []string                   `json:"channels_removed"`
		BundlesAdded    []bundleRef                `json:"bundles_added"`
		BundlesRemoved  []bundleRef                `json:"bundles_removed"`
		BundlesChanged  []bundleRef                `json:"bundles_changed"`
		EdgesAdded      []json.RawMessage          `json:"edges_added"`
		EdgesRemoved    []json.RawMessage          `json:"edges_removed"`
		Deprecated      []deprecation              `json:"deprecations_added"`
		Undeprecated    []deprecation              `json:"deprecations_removed"`
	} `json:"packages"`
}

type deprecation struct {
	Schema  string `json:"schema"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

// of names what the entry is about: "package", or "bundle NAME".
func (d deprecation) of() string {
	return strings.TrimSpace(strings.TrimPrefix(d.Schema, "olm.") + " " + d.Name)
}

type bundleRef struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// print writes a line for each thing that came (+), went (-) or changed (~).
func (d *differences) print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "--- %s\n+++ %s\n", d.From, d.To)
	for _, p := range d.Packages {
		sign := "~"
		switch {
		case p.Added:
			sign = "+"
		case p.Removed:
			sign = "-"
		}
		fmt.Fprintf(&text, "%s package %s\n", sign, p.Package)
		if c := p.DefaultChannel; c != nil && sign == "~" {
			fmt.Fprintf(&text, "  ~ default channel %s, was %s\n", c.To, c.From)
		}
		for _, list := range []struct {
			sign, what string
			names      []string
		}{
			{"+", "channel", p.ChannelsAdded}, {"-", "channel", p.ChannelsRemoved},
			{"+", "bundle", bundleNames(p.BundlesAdded)}, {"-", "bundle", bundleNames(p.BundlesRemoved)}, {"~", "bundle", bundleNames(p.BundlesChanged)},
		} {
			for _, name := range list.names {
				fmt.Fprintf(&text, "  %s %s %s\n", list.sign, list.what, name)
			}
		}
		if n := len(p.EdgesAdded) + len(p.EdgesRemoved); n > 0 {
			fmt.Fprintf(&text, "  ~ ways to upgrade: %d came, %d went\n", len(p.EdgesAdded), len(p.EdgesRemoved))
		}
		for _, e := range p.Deprecated {
			fmt.Fprintf(&text, "  + deprecation of the %s: %s\n", e.of(), e.Message)
		}
		for _, e := range p.Undeprecated {
			fmt.Fprintf(&text, "  - deprecation of the %s: %s\n", e.of(), e.Message)
		}
	}
	if len(d.Packages) == 0 {
		text.WriteString("no difference in packages, channels, bundles and deprecations\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func bundleNames(refs []bundleRef) []string {
	list := make([]string, 0, len(refs))
	for _, r := range refs {
		list = append(list, r.Name)
	}
	return list
}
