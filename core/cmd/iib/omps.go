package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/tabwriter"

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
			"The environment variable " + ompsTokenVariable + " holds the token of the application registry, such as\n\"basic dXNlcjpwYXNzd29yZA==\".",
	}
	c.AddCommand(newOMPSPushCommand(), newOMPSListCommand(), newOMPSDeleteCommand())
	return c
}

func (f *ompsFlags) register(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.url, "url", "", "the push service's address (default: /omps of the engine)")
	return f.clientFlags.register(c)
}

// send calls the push service; into is filled from the answer.
func (f *ompsFlags) send(ctx context.Context, method, path, contentType string, body io.Reader, into any) (json.RawMessage, error) {
	base := strings.TrimRight(f.url, "/")
	if base == "" {
		cl, err := newClient(f.server)
		if err != nil {
			return nil, err
		}
		base = cl.base + "/omps"
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
		return nil, fmt.Errorf("%s does not answer: %w", base, err)
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
	if id == "OMPSAuthorizationHeaderRequired" {
		text += "\nSet " + ompsTokenVariable + "."
	}
	return fmt.Errorf("%s", text)
}

func newOMPSPushCommand() *cobra.Command {
	var flags ompsFlags
	var version string
	var dryRun bool
	c := &cobra.Command{
		Use:   "push ORGANIZATION FILE|DIRECTORY",
		Short: "Push a zip of manifests, or a directory of them",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			archive, err := readManifests(args[1])
			if err != nil {
				return err
			}
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			part, err := form.CreateFormFile("file", "manifests.zip")
			if err == nil {
				_, err = part.Write(archive)
			}
			if err == nil {
				err = form.Close()
			}
			if err != nil {
				return err
			}
			where := "/v2/" + url.PathEscape(args[0]) + "/zipfile"
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
			raw, err := flags.send(c.Context(), http.MethodPost, where, form.FormDataContentType(), &body, &answer)
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
	c.Flags().StringVar(&version, "version", "", "the release's version (default: the first number of the highest is raised)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "judge the manifests, and push nothing")
	return flags.register(c)
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
		RunE: func(c *cobra.Command, args []string) error {
			where := "/cnr/api/v1/packages"
			if len(args) == 1 {
				where += "?" + url.Values{"namespace": {args[0]}}.Encode()
			}
			var packages []struct {
				Name       string   `json:"name"`
				Visibility string   `json:"visibility"`
				Releases   []string `json:"releases"`
				Updated    string   `json:"updated_at"`
			}
			raw, err := flags.send(c.Context(), http.MethodGet, where, "", nil, &packages)
			if err != nil || flags.output == "json" {
				return orIndent(c.OutOrStdout(), raw, err)
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
	c.Flags().BoolVar(&all, "all", false, "delete every release")
	return flags.register(c)
}
