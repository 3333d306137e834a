package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// overwriteTokenVariable has the user's credentials for the index that a request
// overwrites; an argument would be seen by everybody on the machine.
const overwriteTokenVariable = "IIB_OVERWRITE_TOKEN"

// requestVerb is a command that submits one type of request. What plugins add,
// and parameters without a flag, are left to `iib submit`.
type requestVerb struct {
	use, requestType, short, example string
	// argument is the parameter that the arguments are; many takes any number
	// of them.
	argument string
	many     bool
	flags    []requestFlag
	// overwrites is the prefix of the parameters that overwrite an index, empty
	// if the type has none.
	overwrites string
}

// requestFlag is a flag for a parameter.
type requestFlag struct {
	name, parameter, usage string
	kind                   flagKind
}

type flagKind int

const (
	textFlag flagKind = iota
	listFlag
	boolFlag
	mapFlag
	// fileFlag names a file whose text is the parameter, jsonFileFlag one whose
	// JSON is.
	fileFlag
	jsonFileFlag
)

var (
	fromIndexFlag   = requestFlag{"from-index", "from_index", "the index to begin with", textFlag}
	binaryImageFlag = requestFlag{"binary-image", "binary_image", "the image that has opm (default: as the server is configured)", textFlag}
	archesFlag      = requestFlag{"arch", "add_arches", "an architecture to build for besides those of the index; may be repeated", listFlag}
	tagsFlag        = requestFlag{"tag", "build_tags", "a tag to push the result to as well; may be repeated", listFlag}
	scopeFlag       = requestFlag{"scope", "distribution_scope", "prod, stage or dev", textFlag}
	deprecateFlag   = requestFlag{"deprecate", "deprecation_list", "a bundle to deprecate; may be repeated", listFlag}
	graphModeFlag   = requestFlag{"mode", "graph_update_mode", "replaces, semver or semver-skippatch", textFlag}
	authsFlag       = requestFlag{"auth-file", "registry_auths", "a Docker config.json with the credentials for this request", jsonFileFlag}
	organization    = requestFlag{"organization", "organization", "whose customizations to apply", textFlag}
)

var requestVerbs = []requestVerb{
	{
		use: "add [BUNDLE...]", requestType: "add", short: "Add bundles to an index",
		example:  "  iib add quay.io/ns/bundle:v1 --from-index quay.io/ns/index:v4.14 --wait",
		argument: "bundles", many: true, overwrites: "overwrite_from_index",
		flags: []requestFlag{fromIndexFlag, binaryImageFlag, archesFlag, tagsFlag, scopeFlag, deprecateFlag, graphModeFlag,
			{"check-related-images", "check_related_images", "refuse bundles whose related images are not there", boolFlag}},
	},
	{
		use: "rm OPERATOR...", requestType: "rm", short: "Remove operators from an index",
		example:  "  iib rm etcd --from-index quay.io/ns/index:v4.14 --overwrite --wait",
		argument: "operators", many: true, overwrites: "overwrite_from_index",
		flags: []requestFlag{fromIndexFlag, binaryImageFlag, archesFlag, tagsFlag, scopeFlag},
	},
	{
		use: "merge INDEX", requestType: "merge-index-image", short: "Add what another index has to an index",
		example:  "  iib merge quay.io/ns/index:v4.13 --into quay.io/ns/index:v4.14 --wait",
		argument: "source_from_index", overwrites: "overwrite_target_index",
		flags: []requestFlag{{"into", "target_index", "the index whose other bundles are added", textFlag}, binaryImageFlag, archesFlag, tagsFlag, scopeFlag, deprecateFlag, graphModeFlag,
			{"ignore-ocp-version", "ignore_bundle_ocp_version", "add bundles that are not for the index's version of OpenShift too", boolFlag}},
	},
	{
		use: "create-empty INDEX", requestType: "create-empty-index", short: "Make an index without operators",
		example:  "  iib create-empty quay.io/ns/index:v4.14 --fbc --wait",
		argument: "from_index",
		flags: []requestFlag{binaryImageFlag, archesFlag, tagsFlag, scopeFlag,
			{"fbc", "output_fbc", "make it file-based whatever the index is", boolFlag},
			{"label", "labels", "a label to set, NAME=VALUE; may be repeated", mapFlag}},
	},
	{
		use: "fragments FRAGMENT...", requestType: "fbc-operations", short: "Put catalog fragments into an index",
		example:  "  iib fragments quay.io/ns/fragment@sha256:... --from-index quay.io/ns/index:v4.14 --wait",
		argument: "fbc_fragments", many: true, overwrites: "overwrite_from_index",
		flags: []requestFlag{fromIndexFlag, binaryImageFlag, archesFlag, tagsFlag, scopeFlag},
	},
	{
		use: "deprecate OPERATOR", requestType: "add-deprecations", short: "Set the deprecations of an operator",
		example:  "  iib deprecate etcd --schema deprecations.json --from-index quay.io/ns/index:v4.14 --wait",
		argument: "operator_package", overwrites: "overwrite_from_index",
		flags: []requestFlag{{"schema", "deprecation_schema", "the file of the olm.deprecations document", fileFlag},
			fromIndexFlag, binaryImageFlag, archesFlag, tagsFlag, scopeFlag},
	},
	{
		use: "regenerate BUNDLE", requestType: "regenerate-bundle", short: "Pin and customize a bundle image",
		example:  "  iib regenerate quay.io/ns/bundle:v1 --organization company-marketplace --wait",
		argument: "from_bundle_image",
		flags: []requestFlag{organization, authsFlag,
			{"replace", "bundle_replacements", "an image to write in the place of another, OLD=NEW; may be repeated", mapFlag}},
	},
	{
		use: "related BUNDLE", requestType: "recursive-related-bundles", short: "List the bundles that a bundle needs",
		example:  "  iib related quay.io/ns/bundle:v1 --wait",
		argument: "parent_bundle_image",
		flags:    []requestFlag{organization, authsFlag},
	},
}

// newRequestCommands returns a command for each type.
func newRequestCommands() []*cobra.Command {
	commands := make([]*cobra.Command, len(requestVerbs))
	for i, v := range requestVerbs {
		commands[i] = v.command()
	}
	return commands
}

func (v *requestVerb) command() *cobra.Command {
	var flags clientFlags
	var wait, dryRun, overwrite bool
	values := make(map[string]func() (any, error))
	c := &cobra.Command{
		Use: v.use, Short: v.short, Example: v.example, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			body, err := v.body(c, args, values)
			if err != nil {
				return err
			}
			if overwrite {
				body[v.overwrites] = true
				if token := os.Getenv(overwriteTokenVariable); token != "" {
					body[v.overwrites+"_token"] = token
				}
			}
			cl, err := newClient(flags.server)
			if err != nil {
				return err
			}
			if dryRun {
				return preview(c.Context(), cl, v.requestType, body, flags.output, c.OutOrStdout())
			}
			b, err := cl.build(c.Context(), http.MethodPost, "/builds/"+url.PathEscape(v.requestType), body)
			if err != nil {
				return err
			}
			if wait {
				return follow(c.Context(), cl, b.ID, flags.output, c.OutOrStdout())
			}
			return show(c.OutOrStdout(), b, flags.output)
		},
	}
	if v.many {
		c.Args = cobra.ArbitraryArgs
	}
	for _, f := range v.flags {
		values[f.parameter] = f.register(c)
	}
	if v.overwrites != "" {
		c.Flags().BoolVar(&overwrite, "overwrite", false, "move the index's own tag, with the credentials user:password in $"+overwriteTokenVariable+" if it is set")
		c.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would change, and every problem; exit with 3 if it would fail")
	}
	c.Flags().BoolVar(&wait, "wait", false, "follow the request to its end; exit with 3 if it fails")
	return flags.register(c)
}

// body makes the submission of what was given. What was not is left out.
func (v *requestVerb) body(c *cobra.Command, args []string, values map[string]func() (any, error)) (map[string]any, error) {
	body := make(map[string]any)
	switch {
	case v.many && len(args) > 0:
		body[v.argument] = args
	case !v.many:
		body[v.argument] = args[0]
	}
	for _, f := range v.flags {
		if !c.Flags().Changed(f.name) {
			continue
		}
		value, err := values[f.parameter]()
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--%s: %w", f.name, err)}
		}
		body[f.parameter] = value
	}
	return body, nil
}

// register adds the flag and returns where its value comes from.
func (f *requestFlag) register(c *cobra.Command) func() (any, error) {
	switch f.kind {
	case listFlag:
		list := c.Flags().StringArray(f.name, nil, f.usage)
		return func() (any, error) { return *list, nil }
	case boolFlag:
		value := c.Flags().Bool(f.name, false, f.usage)
		return func() (any, error) { return *value, nil }
	case mapFlag:
		list := c.Flags().StringArray(f.name, nil, f.usage)
		return func() (any, error) { return pairs(*list) }
	case fileFlag, jsonFileFlag:
		path := c.Flags().String(f.name, "", f.usage)
		return func() (any, error) { return readParameter(*path, f.kind) }
	default:
		text := c.Flags().String(f.name, "", f.usage)
		return func() (any, error) { return *text, nil }
	}
}

func pairs(list []string) (map[string]string, error) {
	out := make(map[string]string, len(list))
	for _, pair := range list {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q has no name and value with = between", pair)
		}
		out[name] = value
	}
	return out, nil
}

func readParameter(path string, kind flagKind) (any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if kind == fileFlag {
		return string(data), nil
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("%s is not JSON", path)
	}
	return json.RawMessage(data), nil
}

// preview prints what a request would change.
func preview(ctx context.Context, cl *client, requestType string, body map[string]any, output string, out io.Writer) error {
	var answer struct {
		differences
		Possible bool     `json:"possible"`
		Problems []string `json:"problems"`
	}
	raw, err := cl.call(ctx, http.MethodPost, "/builds/"+url.PathEscape(requestType)+"?dry_run=true", body, &answer)
	if err != nil {
		return err
	}
	if output == "json" {
		err = indent(out, raw)
	} else {
		answer.From, answer.To = "the index as it is", "the index with the request"
		err = answer.print(out)
		for _, problem := range answer.Problems {
			fmt.Fprintln(out, "problem:", problem)
		}
	}
	if err != nil || answer.Possible {
		return err
	}
	return &exitError{exitFailed, fmt.Errorf("the request would fail")}
}

// newDiffCommand compares any two indexes.
func newDiffCommand() *cobra.Command {
	return tagVerb("diff FROM TO", "Show the packages, channels and bundles that differ between two indexes", cobra.ExactArgs(2),
		func(ctx context.Context, cl *client, args []string, flags *clientFlags, out io.Writer) error {
			return diff(ctx, cl, args[0], args[1], flags.output, out)
		})
}
