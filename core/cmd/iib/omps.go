package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// ompsTokenVariable holds what is sent as the Authorization header: the
// application registry's token. It is no flag, or everybody on the machine saw
// it.
const ompsTokenVariable = "IIB_OMPS_TOKEN"

// maxPacked bounds what is read of a directory, before the service does.
const maxPacked = 64 << 20

// ompsFlags are those of the verbs that talk to a push service.
type ompsFlags struct {
	clientFlags
	url string
}

// newOMPSCommand returns the verbs about operators in package-manifest form.
func newOMPSCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "omps",
		Short: "Push, list and delete operators in package-manifest form",
		Long: "Push, list and delete operators in package-manifest form.\n\n" +
			"The environment variable " + ompsTokenVariable + " holds the token of the application registry, such as\n\"basic dXNlcjpwYXNzd29yZA==\".\n\n" +
			"The exit code is 0 when it is done, 1 when it was refused or nobody answered, and 2 for a command that makes no sense.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newOMPSPushCommand(), newOMPSListCommand(), newOMPSDeleteCommand())
	return c
}

func (f *ompsFlags) register(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.url, "url", "", "the push service's address (default: /omps of the engine)")
	return f.clientFlags.register(c)
}

// base is the push service's address.
func (f *ompsFlags) base() (string, error) {
	if f.url != "" {
		cl, err := newClient(f.url)
		if err != nil {
			return "", err
		}
		return strings.TrimRight(cl.base, "/"), nil
	}
	cl, err := newClient(f.server)
	if err != nil {
		return "", err
	}
	return cl.base + "/omps", nil
}

// organizationName is what a push service's path can name.
var organizationName = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\z`)

func checkOrganization(name string) error {
	if !organizationName.MatchString(name) {
		return &exitError{exitUsage, fmt.Errorf("%q is not the name of an organization: letters, digits, dots, hyphens and underscores", name)}
	}
	return nil
}

// listed are packages as the application registry lists them.
type listed struct {
	Name       string   `json:"name"`
	Visibility string   `json:"visibility"`
	Releases   []string `json:"releases"`
	Updated    string   `json:"updated_at"`
}

// list asks for the packages of an organization, or for all.
func (f *ompsFlags) list(ctx context.Context, organization string) (packages []listed, raw json.RawMessage, err error) {
	where := "/cnr/api/v1/packages"
	if organization != "" {
		where += "?" + url.Values{"namespace": {organization}}.Encode()
	}
	raw, err = f.send(ctx, http.MethodGet, where, "", nil, &packages)
	return packages, raw, err
}

// completionTime is how long a shell waits for what it could complete.
const completionTime = 2 * time.Second

// complete proposes organizations, then their packages, then releases, as far as
// a verb takes them.
func (f *ompsFlags) complete(depth int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= depth {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTime)
		defer cancel()
		organization := ""
		if len(args) > 0 {
			organization = args[0]
		}
		packages, _, err := f.list(ctx, organization)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []cobra.Completion
		for _, p := range packages {
			namespace, name, _ := strings.Cut(p.Name, "/")
			switch {
			case len(args) == 0:
				found = append(found, namespace)
			case len(args) == 1:
				found = append(found, name)
			case name == args[1]:
				found = append(found, p.Releases...)
			}
		}
		slices.Sort(found)
		return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
	}
}

// send calls the push service; into is filled from the answer.
func (f *ompsFlags) send(ctx context.Context, method, path, contentType string, body io.Reader, into any) (json.RawMessage, error) {
	base, err := f.base()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if token := os.Getenv(ompsTokenVariable); token != "" {
		request.Header.Set("Authorization", token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", base, errors.Unwrap(err))
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, ompsFault(base, response.Status, raw)
	}
	return raw, json.Unmarshal(raw, into)
}

// ompsFault is what a push service says when it refuses.
func ompsFault(base, status string, raw []byte) error {
	var answer struct {
		ID         any    `json:"error"`
		Message    string `json:"message"`
		Validation struct {
			Errors []string `json:"errors"`
		} `json:"validation_info"`
		Deleted []string `json:"deleted"`
	}
	id := ""
	if json.Unmarshal(raw, &answer) == nil {
		switch e := answer.ID.(type) {
		case string:
			id = e
		case map[string]any: // the application registry's
			id, _ = e["code"].(string)
			answer.Message, _ = e["message"].(string)
		}
	}
	if id == "" {
		return fmt.Errorf("%s answered %s; is the plugin omps switched on there?", base, status)
	}
	text := fmt.Sprintf("%s (%s)", answer.Message, id)
	for _, e := range answer.Validation.Errors {
		text += "\n  " + e
	}
	if len(answer.Deleted) > 0 {
		text += "\nDeleted before that: " + strings.Join(answer.Deleted, " ")
	}
	if id == "OMPSAuthorizationHeaderRequired" {
		text += "\nSet " + ompsTokenVariable + "."
	}
	return fmt.Errorf("%s", text)
}

func newOMPSPushCommand() *cobra.Command {
	var flags ompsFlags
	var version, nvr string
	var dryRun bool
	c := &cobra.Command{
		Use:   "push ORGANIZATION [FILE|DIRECTORY]",
		Short: "Push a zip of manifests, a directory of them, or what a build of Koji has",
		Example: `  iib omps push my-org manifests/
  iib omps push my-org manifests.zip --version 1.2.0 --dry-run
  iib omps push my-org --koji my-operator-bundle-container-1.2-3`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkOrganization(args[0]); err != nil {
				return err
			}
			if (nvr == "") == (len(args) == 1) {
				return &exitError{exitUsage, errors.New("name either a file or directory of manifests, or a build with --koji")}
			}
			where, kind, body := "/v2/"+args[0]+"/koji/"+url.PathEscape(nvr), "", new(bytes.Buffer)
			if nvr == "" {
				archive, err := readManifests(args[1])
				if err != nil {
					return err
				}
				if kind, body, err = manifestForm(archive); err != nil {
					return err
				}
				where = "/v2/" + args[0] + "/zipfile"
			}
			if version != "" {
				where += "/" + url.PathEscape(version)
			}
			if dryRun {
				where += "?dry_run=true"
			}
			var answer struct {
				Organization string `json:"organization"`
				Repository   string `json:"repo"`
				Version      string `json:"version"`
				Validation   struct {
					Warnings []string `json:"warnings"`
				} `json:"validation_info"`
			}
			raw, err := flags.send(c.Context(), http.MethodPost, where, kind, body, &answer)
			if err != nil || flags.output == "json" {
				return orIndent(c.OutOrStdout(), raw, err)
			}
			for _, warning := range answer.Validation.Warnings {
				fmt.Fprintf(c.ErrOrStderr(), "warning: %s\n", warning)
			}
			did := "is pushed"
			if dryRun {
				did = "could be pushed"
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s/%s %s %s\n", answer.Organization, answer.Repository, answer.Version, did)
			return err
		},
	}
	c.ValidArgsFunction = flags.complete(1)
	c.Flags().StringVar(&nvr, "koji", "", "push the manifests of a build, by its name-version-release")
	c.Flags().StringVar(&version, "version", "", "the release's version (default: the first number of the highest is raised)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "judge the manifests, and push nothing")
	return flags.register(c)
}

// manifestForm is an upload of an archive.
func manifestForm(archive []byte) (contentType string, body *bytes.Buffer, err error) {
	body = new(bytes.Buffer)
	form := multipart.NewWriter(body)
	part, err := form.CreateFormFile("file", "manifests.zip")
	if err == nil {
		_, err = part.Write(archive)
	}
	if err == nil {
		err = form.Close()
	}
	return form.FormDataContentType(), body, err
}

// readManifests returns a zip: the file, or one made of a directory.
func readManifests(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if info.Size() > maxPacked {
			return nil, fmt.Errorf("%s is larger than %d bytes", name, maxPacked)
		}
		return os.ReadFile(name)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	total := int64(0)
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file; only those can be pushed", filepath.Join(name, file))
		}
		content, err := fs.ReadFile(root.FS(), file)
		if err != nil {
			return err
		}
		if total += int64(len(content)); total > maxPacked {
			return fmt.Errorf("%s holds more than %d bytes", name, maxPacked)
		}
		f, err := w.Create(path.Clean(file))
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = w.Close() // writes the directory
	return out.Bytes(), err
}

func newOMPSListCommand() *cobra.Command {
	var flags ompsFlags
	return flags.register(&cobra.Command{
		Use:   "list [ORGANIZATION]",
		Short: "List the packages of the embedded application registry",
		Args:  cobra.MaximumNArgs(1),

		ValidArgsFunction: flags.complete(1),
		RunE: func(c *cobra.Command, args []string) error {
			organization := ""
			if len(args) == 1 {
				if organization = args[0]; checkOrganization(organization) != nil {
					return checkOrganization(organization)
				}
			}
			packages, raw, err := flags.list(c.Context(), organization)
			if err != nil || flags.output == "json" {
				return orIndent(c.OutOrStdout(), raw, err)
			}
			if len(packages) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "There is no package that you may read.")
				return nil
			}
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "PACKAGE\tVISIBILITY\tUPDATED\tRELEASES")
			for _, p := range packages {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Name, p.Visibility, p.Updated, strings.Join(p.Releases, " "))
			}
			return table.Flush()
		},
	})
}

func newOMPSDeleteCommand() *cobra.Command {
	var flags ompsFlags
	var all bool
	c := &cobra.Command{
		Use:   "delete ORGANIZATION PACKAGE [VERSION]",
		Short: "Delete a release of a package, or all of them with --all",
		Args:  cobra.RangeArgs(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 3) {
				return &exitError{exitUsage, fmt.Errorf("name either a version or --all")}
			}
			if err := checkOrganization(args[0]); err != nil {
				return err
			}
			if slices.Contains(args, "") {
				return &exitError{exitUsage, errors.New("a package or a version cannot be empty")}
			}
			where := "/v2"
			for _, arg := range args {
				where += "/" + url.PathEscape(arg)
			}
			var answer struct {
				Deleted []string `json:"deleted"`
			}
			raw, err := flags.send(c.Context(), http.MethodDelete, where, "", nil, &answer)
			if err != nil || flags.output == "json" {
				return orIndent(c.OutOrStdout(), raw, err)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "deleted %s/%s %s\n", args[0], args[1], strings.Join(answer.Deleted, " "))
			return err
		},
	}
	c.ValidArgsFunction = flags.complete(3)
	c.Flags().BoolVar(&all, "all", false, "delete every release")
	return flags.register(c)
}
