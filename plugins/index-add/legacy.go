package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
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
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
	"github.com/iib-engine/iib/sdk/index"
)

// ompsSettings switch the legacy export on (handlers, section 8).
type ompsSettings struct {
	clienttls.Files

	URL      string        `hcl:"url" doc:"The push service's address, with its version and a slash at the end: https://omps.example.com/v2/."`
	Versions []string      `hcl:"index_versions,optional" doc:"The versions of indexes whose bundles with the backport label are exported. Default: v4.5."`
	Timeout  time.Duration `hcl:"timeout,optional" doc:"How long one push may take. Default: 10m."`
}

const (
	labelBackport = "com.redhat.delivery.backport"
	pushTimeout   = 10 * time.Minute
	pushAttempts  = 3
	// maxExport bounds what one package's manifests may have, in bytes.
	maxExport = 256 << 20
)

// check is part of the handler's Validate.
func (s *ompsSettings) check() error {
	if u, err := url.Parse(s.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || !strings.HasSuffix(s.URL, "/") {
		return sdk.FieldErrorf("omps.url", "omps.url is %q, and must be an address with the version of the API and a slash at the end, such as https://omps.example.com/v2/", s.URL)
	}
	if s.Timeout < 0 {
		return sdk.FieldErrorf("omps.timeout", "omps.timeout is %s and must not be negative", s.Timeout)
	}
	return s.Files.Faults()
}

// legacy is the export of one request.
type legacy struct {
	*add
	settings *ompsSettings
	token    sdk.Secret
	packages []string
	// operators are the packages as the new index has them.
	operators map[string]*index.Operator
	client    *http.Client
	// pause is the one before the second attempt; later ones are longer.
	pause time.Duration
	// pushed are the packages with what was pushed: after a rebase, what is
	// still the same is not pushed again.
	pushed map[string]export
}

// export is a package that was pushed.
type export struct {
	content [sha256.Size]byte
	version string
}

// planLegacy finds the packages that have to be exported, and whether they can
// be, before anything is built.
func (a *add) planLegacy(ctx context.Context, plan *index.Plan) error {
	settings := a.handler.OMPS
	packages := a.legacyPackages(ctx, plan)
	if settings == nil {
		switch {
		case a.params.ForceBackport:
			a.Job.Warnf(ctx, "force_backport is ignored: this engine exports nothing to the legacy application registry")
		case len(packages) > 0:
			a.Job.Warnf(ctx, "the packages %s are marked for the legacy application registry by the label %s, and are not exported: the plugin has no omps block",
				strings.Join(packages, ", "), labelBackport)
		}
		return nil
	}
	if len(packages) == 0 {
		if a.legacy != nil {
			a.legacy.packages = nil // the index is of another version now
		}
		return nil
	}
	token, err := a.Job.Secret(ctx, "cnr_token")
	if err != nil && sdk.CodeOf(err) != sdk.NotFound {
		return err
	}
	if token == "" || a.params.Organization == "" {
		return sdk.Errorf(sdk.Invalid, "the packages %s have to be exported to the legacy application registry, which needs cnr_token and organization; submit the request with both", strings.Join(packages, ", "))
	}
	if a.params.ForceBackport {
		if err := a.Job.Statef(ctx, "The export to the legacy application registry is forced."); err != nil {
			return err
		}
	}
	if a.legacy == nil {
		config, err := settings.Files.Config()
		if err != nil {
			return err
		}
		a.legacy = &legacy{add: a, settings: settings, pause: time.Second, pushed: make(map[string]export), client: &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	}
	a.legacy.token, a.legacy.packages = token, packages
	return nil
}

func (a *add) legacyPackages(ctx context.Context, plan *index.Plan) []string {
	versions := []string{"v4.5"}
	if o := a.handler.OMPS; o != nil && len(o.Versions) > 0 {
		versions = o.Versions
	}
	var packages []string
	for _, b := range a.bundles {
		if b.Package() == "" {
			continue
		}
		var marked bool
		if label := b.Labels[labelBackport]; label != "" && yaml.Unmarshal([]byte(label), &marked) != nil {
			a.Job.Warnf(ctx, "the label %s of bundle %s is %.50q, neither true nor false", labelBackport, b.Spec, label)
		}
		if a.params.ForceBackport || marked && slices.Contains(versions, plan.Version) {
			packages = append(packages, b.Package())
		}
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// readLegacy keeps what the new index has of the packages, while that can be
// read: it is sealed before it is built.
func (a *add) readLegacy(ctx context.Context, content *index.Content) error {
	if a.legacy == nil {
		return nil
	}
	a.legacy.operators = make(map[string]*index.Operator)
	for _, name := range a.legacy.packages {
		operator, err := content.Operator(ctx, name)
		if sdk.CodeOf(err) == sdk.NotFound {
			return sdk.Errorf(sdk.Invalid, "package %s has to be exported to the legacy application registry, and is missing in the index", name)
		}
		if err != nil {
			return err
		}
		a.legacy.operators[name] = operator
	}
	return nil
}

// exportLegacy pushes the packages as the new index has them.
func (a *add) exportLegacy(ctx context.Context) error {
	l := a.legacy
	if l == nil || len(l.packages) == 0 {
		return nil
	}
	if err := a.Job.Statef(ctx, "Exporting the packages %s to the legacy application registry.", strings.Join(l.packages, ", ")); err != nil {
		return err
	}
	versions := make(map[string]string)
	for _, name := range l.packages {
		archive, err := l.archive(ctx, l.operators[name])
		if err != nil {
			return sdk.Errorf(sdk.CodeOf(err), "export package %s to the legacy application registry: %v", name, err)
		}
		sum := sha256.Sum256(archive)
		if l.pushed[name].content != sum {
			version, err := l.push(ctx, name, archive)
			if err != nil {
				return err
			}
			l.pushed[name] = export{sum, version}
		}
		versions[name] = l.pushed[name].version
		a.Job.Logf(ctx, "pushed package %s to organization %s as version %s", name, a.params.Organization, versions[name])
	}
	text, err := json.Marshal(versions)
	if err != nil {
		return err
	}
	if err := a.Job.SetFields(ctx, map[string]any{"omps_operator_version": string(text)}); err != nil {
		return err
	}
	return a.Job.Statef(ctx, "The packages %s were pushed to the legacy application registry.", strings.Join(l.packages, ", "))
}

var directory = regexp.MustCompile(`\A[0-9A-Za-z][0-9A-Za-z.+-]{0,200}\z`)

// archive is a package in package-manifest form: package.yaml, and a directory
// for each version. Equal packages make equal archives.
func (l *legacy) archive(ctx context.Context, operator *index.Operator) ([]byte, error) {
	if len(operator.Bundles) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "it is missing in the index")
	}
	described, err := describe(operator)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"package.yaml": described}
	var images []string
	for _, b := range operator.Bundles {
		if !directory.MatchString(b.Version) {
			return nil, sdk.Errorf(sdk.Invalid, "bundle %s has the version %.100q, which cannot be a directory's name", b.Name, b.Version)
		}
		if b.Image == "" {
			return nil, sdk.Errorf(sdk.Invalid, "bundle %s has no image in the index, so that its manifests cannot be read", b.Name)
		}
		images = append(images, b.Image)
	}
	bundles, err := l.Bundles(ctx, images)
	if err != nil {
		return nil, err
	}
	left := int64(maxExport)
	for i, b := range bundles {
		dir, err := l.Unpack(ctx, b)
		if err != nil {
			return nil, err
		}
		err = collect(files, filepath.Join(dir, "manifests"), operator.Bundles[i].Version, &left)
		_ = os.RemoveAll(dir)
		if err != nil {
			return nil, sdk.Errorf(sdk.CodeOf(err), "bundle %s: %v", b.Spec, err)
		}
	}
	return zipped(files)
}

// describe is the file that names a package's channels.
func describe(o *index.Operator) ([]byte, error) {
	type channel struct {
		Name       string `yaml:"name"`
		CurrentCSV string `yaml:"currentCSV"`
	}
	p := struct {
		Name           string    `yaml:"packageName"`
		Channels       []channel `yaml:"channels"`
		DefaultChannel string    `yaml:"defaultChannel,omitempty"`
	}{Name: o.Name, DefaultChannel: o.DefaultChannel}
	for _, c := range o.Channels {
		p.Channels = append(p.Channels, channel{c.Name, c.Head})
	}
	return yaml.Marshal(p)
}

// collect reads the files below a directory, as files of a version.
func collect(files map[string][]byte, dir, version string, left *int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "open its manifests: %v", err)
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		// A link within the manifests is followed, one that leads out is not.
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return sdk.Errorf(sdk.Invalid, "its manifest %s is not a regular file, nor a link to one of the manifests", name)
		}
		if *left -= info.Size(); *left < 0 {
			return sdk.Errorf(sdk.Invalid, "the manifests of its package have more than %d bytes", maxExport)
		}
		files[path.Join(version, name)], err = fs.ReadFile(root.FS(), name)
		return err
	})
}

func zipped(files map[string][]byte) ([]byte, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		f, err := w.Create(name)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(files[name]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// push sends an archive, and returns the version that it got. Only what has
// certainly changed nothing is tried again.
func (l *legacy) push(ctx context.Context, name string, archive []byte) (string, error) {
	var fault error
	for attempt := range pushAttempts {
		if attempt > 0 {
			select {
			case <-time.After(time.Duration(attempt) * l.pause):
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		version, again, err := l.attempt(ctx, name, archive)
		if !again {
			return version, err
		}
		l.Job.Logf(ctx, "attempt %d: %v", attempt+1, err)
		fault = err
	}
	return "", fault
}

func (l *legacy) attempt(ctx context.Context, name string, archive []byte) (version string, again bool, err error) {
	timeout := l.settings.Timeout
	if timeout == 0 {
		timeout = pushTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
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
		return "", false, err
	}
	organization := l.params.Organization
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.settings.URL+url.PathEscape(organization)+"/zipfile", &body)
	if err != nil {
		return "", false, sdk.Errorf(sdk.Invalid, "organization %q cannot be part of an address", organization)
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	request.Header["Authorization"] = []string{l.token.Reveal()}
	response, err := l.client.Do(request)
	if err != nil {
		// The address is known to the operator; the error's own has no secret.
		return "", !errors.Is(err, context.DeadlineExceeded), sdk.Errorf(sdk.Internal, "push package %s to organization %s of the legacy application registry: the push service did not answer: %v", name, organization, errors.Unwrap(err))
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err != nil {
		return "", false, sdk.Errorf(sdk.Internal, "push package %s to organization %s of the legacy application registry: the answer is cut off: %v", name, organization, err)
	}
	var answer struct {
		Version string `json:"version"`
		Message string `json:"message"`
	}
	malformed := json.Unmarshal(raw, &answer) != nil
	if response.StatusCode == http.StatusOK && answer.Version != "" {
		return answer.Version, false, nil
	}
	message := answer.Message
	if malformed || message == "" {
		message = fmt.Sprintf("status %d: %.500s", response.StatusCode, raw)
	}
	code := sdk.Internal
	switch {
	case response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized:
		code = sdk.Denied
	case response.StatusCode/100 == 4:
		code = sdk.Invalid
	case response.StatusCode == http.StatusBadGateway || response.StatusCode == http.StatusServiceUnavailable:
		again = true
	}
	return "", again, sdk.Errorf(code, "push package %s to organization %s of the legacy application registry: %s", name, organization, message)
}
