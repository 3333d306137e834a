package compose

import (
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
)

// Kind is a type of image.
type Kind struct {
	Name      string
	ImageName string
	// Packages are what the type adds to those of a blueprint.
	Packages []solve.Want
	// Disabled tells why this host cannot make it; empty if it can.
	Disabled string
	// Boots tells that it is a disk, which a kernel among the packages makes
	// bootable.
	Boots bool
	// Compression and CompressArgs are those of config.toml.
	Compression  string
	CompressArgs []string
}

// Installed are all packages of the image, sorted: those that were solved, and
// those that are made of git repositories.
func (p *Params) Installed() []solve.Package {
	all := append([]solve.Package{}, p.Packages...)
	for _, r := range p.Repos {
		all = append(all, solve.Package{Name: r.RPMName, Version: r.RPMVersion, Release: r.RPMRelease, Arch: "noarch"})
	}
	solve.Sort(all)
	return all
}

// Config is the content of config.toml.
type Config struct {
	ImageName     string   `json:"image_name" toml:"image_name"`
	Compression   string   `json:"compression" toml:"compression"`
	CompressArgs  []string `json:"compress_args" toml:"compress_args"`
	ImageType     string   `json:"image_type" toml:"image_type"`
	ExtraBootArgs string   `json:"extra_boot_args" toml:"extra_boot_args"`
	Title         string   `json:"title" toml:"title"`
	Project       string   `json:"project" toml:"project"`
	Releasever    string   `json:"releasever" toml:"releasever"`
	Size          int64    `json:"size" toml:"size"`
	Timeout       int      `json:"timeout" toml:"timeout"`
}

// Config returns the settings of a compose of a kind.
func (p *Params) Config(kind Kind, project, releasever string) Config {
	args := kind.CompressArgs
	if args == nil {
		args = []string{}
	}
	boot := ""
	if kernel, ok := p.Customizations["kernel"].(map[string]any); ok {
		boot, _ = kernel["append"].(string)
	}
	return Config{
		ImageName: p.ImageName, Compression: kind.Compression, CompressArgs: args, ImageType: p.Kind,
		ExtraBootArgs: boot, Title: p.Name, Project: project, Releasever: releasever, Size: p.Size,
	}
}
