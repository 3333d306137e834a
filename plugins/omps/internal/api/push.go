package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/iib-engine/iib/plugins/omps/internal/cnr"
	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
	"github.com/iib-engine/iib/plugins/omps/internal/manifest"
)

// pushed is the answer to a push.
type pushed struct {
	Organization   string           `json:"organization"`
	Repository     string           `json:"repo"`
	Version        string           `json:"version"`
	ExtractedFiles []string         `json:"extracted_files"`
	NVR            string           `json:"nvr,omitempty"`
	Report         *manifest.Report `json:"validation_info,omitempty"`
	DryRun         bool             `json:"dry_run,omitempty"`
}

func (c *call) pushZip() (any, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	release, err := c.turn()
	if err != nil {
		return nil, err
	}
	defer release()
	data, err := c.upload()
	if err != nil {
		return nil, err
	}
	return c.push(data)
}

func (c *call) pushBuild() (any, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	if c.Source == nil {
		return nil, fault.New(fault.Koji, "Koji is not set up here; push the archive as a file.")
	}
	release, err := c.turn()
	if err != nil {
		return nil, err
	}
	defer release()
	data, err := c.Source.Archive(c.r.Context(), c.nvr)
	if err != nil {
		return nil, err
	}
	if c.Gate != nil {
		if err := c.Gate.Check(c.r.Context(), c.nvr); err != nil {
			return nil, err
		}
	}
	return c.push(data)
}

// begin is what comes before every push's archive. A wish for a dry run that is
// not understood must not become a push.
func (c *call) begin() error {
	if err := c.authorized(); err != nil {
		return err
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return fault.New(fault.BadRequest, "The query of the address cannot be read: %v.", err)
	}
	if !query.Has("dry_run") {
		return nil
	}
	switch text := query.Get("dry_run"); text {
	case "true":
		c.dryRun = true
	case "false":
	default:
		return fault.New(fault.BadRequest, "dry_run is %.200q, and must be true or false.", text)
	}
	return nil
}

// turn waits until another archive may be held in memory.
func (c *call) turn() (release func(), err error) {
	select {
	case c.turns <- struct{}{}:
		return func() { <-c.turns }, nil
	case <-c.r.Context().Done():
		return nil, c.r.Context().Err()
	}
}

// upload reads the one file of the form.
func (c *call) upload() ([]byte, error) {
	if c.r.ContentLength > c.MaxBody {
		return nil, &http.MaxBytesError{Limit: c.MaxBody}
	}
	body := http.MaxBytesReader(c.w, c.r.Body, c.MaxBody)
	absent := fault.New(fault.ExpectedFile, `No field "file" in uploaded data: send a form (multipart/form-data) with it.`)
	mediaType, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, absent
	}
	reader := multipart.NewReader(body, params["boundary"])
	for {
		part, err := reader.NextPart()
		if err != nil {
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				return nil, err
			}
			return nil, absent
		}
		if part.FormName() != "file" {
			continue
		}
		name := fileName(part)
		if name == nil {
			return nil, absent
		}
		if *name == "" {
			return nil, fault.New(fault.ExpectedFile, `No selected "file" in uploaded data: the field has no file name.`)
		}
		if err := intake.CheckName(*name); err != nil {
			return nil, err
		}
		data, err := io.ReadAll(part)
		if err != nil {
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				return nil, err
			}
			return nil, fault.New(fault.UploadedFile, "The uploaded file is cut off.")
		}
		return data, nil
	}
}

// fileName is what the client calls the file, nil if the field is no file.
func fileName(part *multipart.Part) *string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return nil
	}
	name, ok := params["filename"]
	if !ok {
		return nil
	}
	return &name
}

// push does what both sources have in common (push service contract, section 4).
func (c *call) push(data []byte) (any, error) {
	ctx := c.r.Context()
	files, err := intake.Read(data, c.MaxContent)
	if err != nil {
		return nil, err
	}
	answer := &pushed{Organization: c.organization, ExtractedFiles: files.Paths(), NVR: c.nvr, DryRun: c.dryRun}
	name, file, err := manifest.PackageName(files)
	if err != nil {
		return nil, err
	}
	organization := c.Organizations[c.organization]
	if organization == nil {
		organization = new(Organization)
	}
	if name, err = organization.Rules.Rename(files, name, file); err != nil {
		return nil, err
	}
	if c.repository == "" {
		c.repository = name
	}
	unlock, err := c.packages.Lock(ctx, c.organization+"/"+c.repository)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c.release, err = c.choose(ctx); err != nil {
		return nil, err
	}
	answer.Repository, answer.Version = c.repository, c.release
	if err := organization.Rules.Apply(files, name); err != nil {
		return nil, err
	}
	operator, err := manifest.Read(files)
	if err != nil {
		return nil, prefixed(err)
	}
	report, err := operator.Validate(c.repository)
	if err != nil {
		return nil, err
	}
	if len(report.Warnings) > 0 {
		answer.Report = report
	}
	blob, err := operator.Pack(c.repository, c.release)
	if err != nil {
		return nil, fault.New(fault.PackageValidation, "Failed to push manifest: %v", err)
	}
	if answer.DryRun {
		return answer, nil
	}
	sum := sha256.Sum256(blob)
	c.digest = "sha256:" + hex.EncodeToString(sum[:])
	if err := c.Target.Push(ctx, c.authorization, c.organization, c.repository, c.release, blob); err != nil {
		return nil, err
	}
	return answer, c.publish(ctx, organization)
}

func prefixed(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) && !strings.HasPrefix(f.Message, "Failed to push manifest: ") {
		f.Message = "Failed to push manifest: " + f.Message
	}
	return err
}

// publish makes the repository of a public organization public, at each push.
func (c *call) publish(ctx context.Context, organization *Organization) error {
	if !organization.Public {
		return nil
	}
	err := c.Target.Publish(ctx, c.authorization, organization.Token, c.organization, c.repository)
	if cnr.IsNoToken(err) {
		slog.Error("a repository was not made public", "organization", c.organization, "repository", c.repository, "err", err)
		return nil
	}
	return err
}

// choose returns the release in the path, or the one after the highest.
func (c *call) choose(ctx context.Context) (string, error) {
	if c.explicit {
		if !manifest.IsRelease(c.release) {
			return "", fault.New(fault.InvalidVersion, "Version %.200q is not three numbers without leading zeros, such as 1.0.0.", c.release)
		}
		return c.release, nil
	}
	releases, err := c.Target.Releases(ctx, c.authorization, c.organization, c.repository)
	var f *fault.Fault
	if errors.As(err, &f) && f.ID == fault.PackageNotFound {
		return c.FirstRelease, nil
	}
	if err != nil {
		return "", err
	}
	return manifest.Next(releases, c.FirstRelease), nil
}

// audit records a change: who made it, and what came of it.
func (c *call) audit(name, outcome string) {
	switch name {
	case "push", "push_koji", "delete":
	default:
		return
	}
	slog.Info("push service", "call", name, "outcome", outcome, "user", user(c.authorization),
		"organization", c.organization, "repository", c.repository, "version", c.release, "nvr", c.nvr, "digest", c.digest)
}

// user is the name in basic credentials, never their password.
func user(authorization string) string {
	scheme, credentials, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "basic") {
		return ""
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	name, _, found := strings.Cut(string(decoded), ":")
	if err != nil || !found {
		return ""
	}
	return name
}
