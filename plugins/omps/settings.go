package main

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/iib-engine/iib/plugins/omps/internal/api"
	"github.com/iib-engine/iib/plugins/omps/internal/manifest"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
)

// Settings are the plugin's configuration.
type Settings struct {
	clienttls.Files

	Target   string `hcl:"target,optional" doc:"Where packages go: embedded (artifacts in the engine's own registry), oci (artifacts in another image registry) or cnr (another application registry)."`
	Registry string `hcl:"registry_url,optional" doc:"The image registry's address, for the target oci."`
	Prefix   string `hcl:"prefix,optional" doc:"What the repositories of packages begin with in an image registry. Default: app-registry for the target embedded, nothing for oci."`
	CNR      string `hcl:"cnr_url,optional" doc:"The address that /cnr is below, for the target cnr."`
	Quay     string `hcl:"quay_url,optional" doc:"The address that Quay's own API is below, for the target cnr. Default: cnr_url."`

	RequestTimeout  time.Duration `hcl:"request_timeout,optional" doc:"How long a call to another service may take. 0s is no bound."`
	Deadline        time.Duration `hcl:"deadline,optional" doc:"How long a push or delete may take in all. 0s is no bound."`
	Parallel        int           `hcl:"parallel,optional" doc:"How many archives are worked on at once; others wait."`
	MaxBody         int64         `hcl:"max_body,optional" doc:"The largest upload, in bytes."`
	MaxUncompressed int64         `hcl:"max_uncompressed,optional" doc:"The most that may be in an archive, in bytes."`
	MaxPackage      int64         `hcl:"max_package,optional" doc:"The largest JSON of a push to the embedded application registry, in bytes."`
	DefaultRelease  string        `hcl:"default_release_version,optional" doc:"The version of a package's first release."`

	Koji          *KojiSettings          `hcl:"koji,block" doc:"Where archives of builds are fetched. Without it, only files can be pushed."`
	Greenwave     *GreenwaveSettings     `hcl:"greenwave,block" doc:"What judges builds of Koji before they are pushed."`
	Organizations []OrganizationSettings `hcl:"organization,block" doc:"What differs for an organization. Others have the defaults."`
}

// KojiSettings are a build system.
type KojiSettings struct {
	Hub  string `hcl:"hub_url" doc:"The hub's address, as it is called."`
	Root string `hcl:"root_url" doc:"The address that files of builds are below."`
}

// GreenwaveSettings are a gate for builds.
type GreenwaveSettings struct {
	URL            string `hcl:"url" doc:"Greenwave's address."`
	Context        string `hcl:"context" doc:"The decision context."`
	ProductVersion string `hcl:"product_version" doc:"The product version."`
}

// OrganizationSettings are what an organization wants different.
type OrganizationSettings struct {
	Name         string                `hcl:"name,label" doc:"The organization, as paths name it."`
	Public       bool                  `hcl:"public,optional" doc:"Make repositories public at each push."`
	OAuthToken   sdk.Secret            `hcl:"oauth_token,optional" doc:"Quay's token to make repositories public with, for the target cnr."`
	Suffix       string                `hcl:"package_name_suffix,optional" doc:"What package names end in; it is added where it is missing."`
	Replacements []ReplacementSettings `hcl:"replace_registry,block" doc:"Text to replace in all manifests, in order."`
	Annotations  []AnnotationSettings  `hcl:"csv_annotation,block" doc:"An annotation to set on every ClusterServiceVersion."`
}

// ReplacementSettings are a text to replace.
type ReplacementSettings struct {
	Old    string `hcl:"old" doc:"The text, or the expression."`
	New    string `hcl:"new" doc:"What to put there."`
	Regexp bool   `hcl:"regexp,optional" doc:"Whether old is a regular expression; new may then refer to its groups."`
}

// AnnotationSettings are an annotation.
type AnnotationSettings struct {
	Name  string `hcl:"name,label" doc:"The annotation."`
	Value string `hcl:"value" doc:"Its value; {package_name} is filled in."`
}

const (
	targetEmbedded = "embedded"
	targetOCI      = "oci"
	targetCNR      = "cnr"
)

func defaultSettings() Settings {
	return Settings{
		Target: targetEmbedded, RequestTimeout: time.Minute, Deadline: 5 * time.Minute, Parallel: 4,
		MaxBody: 2 << 20, MaxUncompressed: 20 << 20, MaxPackage: 32 << 20, DefaultRelease: "1.0.0",
	}
}

var (
	organizationName = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\z`)
	placeholder      = regexp.MustCompile(`\{[a-z_]*\}`)
)

// Validate implements sdk.Validator.
func (s *Settings) Validate() error {
	faults := []error{s.Files.Faults()}
	switch s.Target {
	case targetEmbedded:
	case targetOCI:
		faults = append(faults, checkURL("registry_url", s.Registry, true))
	case targetCNR:
		faults = append(faults, checkURL("cnr_url", s.CNR, true), checkURL("quay_url", s.Quay, false))
	default:
		faults = append(faults, sdk.FieldErrorf("target", "target is %q, and must be embedded, oci or cnr", s.Target))
	}
	for _, n := range []struct {
		field string
		value int64
	}{{"parallel", int64(s.Parallel)}, {"max_body", s.MaxBody}, {"max_uncompressed", s.MaxUncompressed}, {"max_package", s.MaxPackage}} {
		if n.value < 1 {
			faults = append(faults, sdk.FieldErrorf(n.field, "%s is %d and must be at least 1", n.field, n.value))
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"request_timeout", s.RequestTimeout}, {"deadline", s.Deadline}} {
		if d.value < 0 {
			faults = append(faults, sdk.FieldErrorf(d.field, "%s is %s and must not be negative", d.field, d.value))
		}
	}
	if !manifest.IsRelease(s.DefaultRelease) {
		faults = append(faults, sdk.FieldErrorf("default_release_version", "default_release_version is %q, and must be three numbers such as 1.0.0", s.DefaultRelease))
	}
	if s.Koji != nil {
		faults = append(faults, checkURL("koji.hub_url", s.Koji.Hub, true), checkURL("koji.root_url", s.Koji.Root, true))
	}
	if s.Greenwave != nil {
		faults = append(faults, checkURL("greenwave.url", s.Greenwave.URL, true))
	}
	_, err := s.organizations()
	return errors.Join(append(faults, err)...)
}

func checkURL(field, address string, required bool) error {
	if address == "" && !required {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return sdk.FieldErrorf(field, "%s is %q, and must be an address such as https://registry.example.com", field, address)
	}
	return nil
}

// organizations are the blocks as the service wants them.
func (s *Settings) organizations() (map[string]*api.Organization, error) {
	all := make(map[string]*api.Organization)
	for _, block := range s.Organizations {
		if !organizationName.MatchString(block.Name) || all[block.Name] != nil {
			return nil, sdk.FieldErrorf("organization", "organization %q: want a name of its own of letters, digits, dots, hyphens and underscores", block.Name)
		}
		o := &api.Organization{Public: block.Public, Token: block.OAuthToken.Reveal()}
		o.Rules.Suffix = block.Suffix
		for _, r := range block.Replacements {
			rule, err := manifest.NewReplacement(r.Old, r.New, r.Regexp)
			if err != nil {
				return nil, sdk.FieldErrorf("organization", "organization %q: replace_registry: %v", block.Name, err)
			}
			o.Rules.Replacements = append(o.Rules.Replacements, rule)
		}
		for _, a := range block.Annotations {
			for _, found := range placeholder.FindAllString(a.Value, -1) {
				if found != "{package_name}" {
					return nil, sdk.FieldErrorf("organization", "organization %q: csv_annotation %q: %s is not filled in; only {package_name} is", block.Name, a.Name, found)
				}
			}
			o.Rules.Annotations = append(o.Rules.Annotations, manifest.Annotation{Name: a.Name, Value: a.Value})
		}
		all[block.Name] = o
	}
	return all, nil
}

// prefix is what repositories begin with.
func (s *Settings) prefix() string {
	if s.Prefix == "" && s.Target == targetEmbedded {
		return "app-registry"
	}
	return strings.Trim(s.Prefix, "/")
}
