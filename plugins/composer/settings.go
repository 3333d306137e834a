package main

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/iib-engine/iib/plugins/composer/internal/solve"
	"github.com/iib-engine/iib/plugins/composer/internal/sources"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/clienttls"
)

// Settings are the plugin's configuration.
type Settings struct {
	Distro     string `hcl:"distro,optional" doc:"The name of the distribution that images are of, such as fedora-42. Default: this host's."`
	Releasever string `hcl:"releasever,optional" doc:"What stands for $releasever in addresses of sources. Default: the version of this host's distribution."`
	Basearch   string `hcl:"basearch,optional" doc:"The architecture of images, in RPM's words, which also stands for $basearch. Default: this host's."`
	Blueprints string `hcl:"blueprint_dir,optional" doc:"The directory of blueprints: their git repository is in git below it, and files in it are added at a start. Default: blueprints in the plugin's data directory."`
	Push       bool   `hcl:"push,optional" doc:"Whether images of type oci are also pushed to the engine's registry, under the request's tag. Default: false."`
	CA         string `hcl:"ca_file,optional" doc:"PEM certificates of the authorities to trust instead of the system's, for sources without a ca_file of their own and for repos.git."`
	Parallel   int    `hcl:"parallel,optional" doc:"How many composes one engine process runs at once. With 1, which is the default, there is one at a time among all processes."`

	Sources []SourceSettings `hcl:"source,block" doc:"An RPM repository that users of the API cannot change."`
}

// SourceSettings are a source of the system.
type SourceSettings struct {
	clienttls.Files

	ID       string   `hcl:"id,label" doc:"Its identifier."`
	Name     string   `hcl:"name,optional" doc:"What it is called. Default: its identifier."`
	Type     string   `hcl:"type,optional" doc:"What url is: yum-baseurl, yum-mirrorlist or yum-metalink."`
	URL      string   `hcl:"url" doc:"Its address, of http, https or file; $releasever and $basearch are filled in."`
	CheckSSL *bool    `hcl:"check_ssl,optional" doc:"Whether the server's certificate must be valid. Default: true."`
	CheckGPG bool     `hcl:"check_gpg,optional" doc:"Whether packages must be signed by one of the keys."`
	GPGKeys  []string `hcl:"gpgkey_urls,optional" doc:"Where the keys are."`
	Proxy    string   `hcl:"proxy,optional" doc:"The proxy to go through."`
	Priority int      `hcl:"priority,optional" doc:"Which source wins if several have a package: the one with the lowest number. Default: 99."`
}

func defaultSettings() Settings { return Settings{Parallel: 1} }

var word = regexp.MustCompile(`\A[a-zA-Z0-9_.:+-]*\z`)

// Validate implements sdk.Validator.
func (s *Settings) Validate() error {
	var faults []error
	for _, f := range []struct{ field, value string }{
		{"distro", s.Distro}, {"releasever", s.Releasever}, {"basearch", s.Basearch},
	} {
		if !word.MatchString(f.value) {
			faults = append(faults, sdk.FieldErrorf(f.field, "%s is %q, and must be letters, digits, dots, hyphens and underscores", f.field, f.value))
		}
	}
	faults = append(faults, clienttls.Files{CA: s.CA}.Faults())
	for _, block := range s.Sources {
		if err := block.Files.Faults(); err != nil {
			faults = append(faults, sdk.FieldErrorf("source", "source %q: %v", block.ID, err))
		}
	}
	if s.Parallel < 1 || s.Parallel > 100 {
		faults = append(faults, sdk.FieldErrorf("parallel", "parallel is %d and must be from 1 to 100", s.Parallel))
	}
	seen := make(map[string]bool)
	for _, source := range s.system() {
		if seen[source.ID] {
			faults = append(faults, sdk.FieldErrorf("source", "source %q is there twice", source.ID))
		}
		seen[source.ID] = true
		if err := sources.CheckSystem(source); err != nil {
			faults = append(faults, sdk.FieldErrorf("source", "source %q: %v", source.ID, err))
		}
	}
	return errors.Join(faults...)
}

// system are the sources of the configuration.
func (s *Settings) system() []solve.Source {
	var list []solve.Source
	for _, block := range s.Sources {
		source := solve.Source{
			ID: block.ID, Name: block.Name, Type: block.Type, URL: block.URL, CheckSSL: block.CheckSSL == nil || *block.CheckSSL,
			CheckGPG: block.CheckGPG, GPGKeyURLs: block.GPGKeys, Proxy: block.Proxy, Priority: block.Priority, System: true,
			CAFile: block.CA, CertFile: block.Cert, KeyFile: block.Key,
		}
		if source.Name == "" {
			source.Name = source.ID
		}
		if source.Type == "" {
			source.Type = solve.BaseURL
		}
		list = append(list, source)
	}
	return list
}

// complete fills in what the host knows better than a default.
func (s *Settings) complete(host osRelease, arch string) error {
	if s.Releasever == "" {
		s.Releasever = host.Version
	}
	if s.Distro == "" && host.ID != "" {
		s.Distro = host.ID + "-" + host.Version
	}
	if s.Distro == "" {
		return sdk.FieldErrorf("distro", "this host does not tell its distribution in /etc/os-release: set distro, such as %q", "fedora-42")
	}
	if !word.MatchString(s.Distro) || !word.MatchString(s.Releasever) {
		return fmt.Errorf("what /etc/os-release says cannot be used (%q, %q): set distro and releasever", s.Distro, s.Releasever)
	}
	if s.Basearch == "" {
		s.Basearch = arch
	}
	return nil
}
