// Package compose is what a request of type "compose" consists of: what its
// acceptance leaves to the handler, and what the handler leaves behind.
package compose

import (
	"github.com/iib-engine/iib/plugins/composer/internal/solve"
)

// Type is the request type.
const Type = "compose"

// Params are the stored parameters of a compose: everything that its handler
// needs, so that a later change of a blueprint or of the sources does not touch
// it.
type Params struct {
	UUID string `json:"uuid"`
	// Name and Version are the blueprint's; Commit is where it was committed.
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Blueprint and Frozen are TOML: as committed, and with exact versions.
	Blueprint string `json:"blueprint"`
	Frozen    string `json:"frozen"`
	// Customizations are the blueprint's, as sent.
	Customizations map[string]any `json:"customizations,omitempty"`
	// Repos are packed into RPMs when the compose starts.
	Repos []Repo `json:"repos,omitempty"`
	// Kind is the type of the image, ImageName its file.
	Kind      string `json:"compose_type"`
	ImageName string `json:"image_name"`
	// Size is the least size of a disk in bytes, 0 as needed.
	Size int64 `json:"size"`
	// Packages are what was solved, sorted, with the packages that Kind adds.
	Packages []solve.Package `json:"packages"`
	Sources  []solve.Source  `json:"sources"`
	// Test is 0; or 1 for a compose that only pretends and fails, 2 for one that
	// only pretends and succeeds.
	Test int `json:"test,omitempty"`
}

// Repo is a directory of a git repository that becomes an RPM (contract
// section 4.2).
type Repo struct {
	RPMName     string `json:"rpmname"`
	RPMVersion  string `json:"rpmversion"`
	RPMRelease  string `json:"rpmrelease"`
	Summary     string `json:"summary"`
	Repo        string `json:"repo"`
	Ref         string `json:"ref"`
	Destination string `json:"destination"`
	// Commit is what Ref was when the compose was accepted.
	Commit string `json:"commit"`
}

// Names of the artifacts that a compose leaves behind.
const (
	ArtifactImage    = "image"    // the image itself
	ArtifactMetadata = "metadata" // a tar of all result files but logs and image
	ArtifactLogs     = "logs"     // a tar of logs/
)

// Fields of a compose's representation.
const (
	FieldUUID      = "uuid"
	FieldBlueprint = "blueprint"
	FieldVersion   = "version"
	FieldType      = "compose_type"
	FieldWarnings  = "warnings"    // texts, what the user should know
	FieldStarted   = "job_started" // Unix seconds, a float; absent while it waits
	FieldImageSize = "image_size"  // bytes
	FieldImage     = "image"       // the pull spec of an image pushed to a registry
)
