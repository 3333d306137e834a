package index

import (
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/params"
)

// Params are the parameters that index requests share.
type Params struct {
	FromIndex         string   `json:"from_index,omitempty"`
	BinaryImage       string   `json:"binary_image,omitempty"`
	AddArches         []string `json:"add_arches,omitempty"`
	DistributionScope string   `json:"distribution_scope,omitempty"`
	Overwrite         bool     `json:"overwrite,omitempty"`
	BuildTags         []string `json:"build_tags,omitempty"`
}

// Names of the shared parameters, for the lists that Accept takes.
var sharedOptional = []string{
	"add_arches", "binary_image", "build_tags", "distribution_scope",
	"overwrite_from_index", "overwrite_from_index_token",
}

// Accept applies the contract's rules C1 to C15 (section 2.3) in their order,
// with the endpoint's own parameters beside the shared ones, and sets the
// submission's target, overwrite and grant. The build tags are read by
// BuildTags, which the contract orders last.
func (c *Config) Accept(sub *sdk.Submission, o params.Object, required, optional []string) (*Params, error) {
	optional = slices.DeleteFunc(slices.Concat(sharedOptional, optional), func(name string) bool {
		return slices.Contains(required, name)
	})
	if err := o.Check(required, optional); err != nil {
		return nil, err
	}
	if o.Empty("from_index") && o.Empty("add_arches") {
		return nil, sdk.FieldErrorf("from_index", "from_index or add_arches must be given: without an index there is no other way to know the architectures")
	}
	p := new(Params)
	token, err := p.readOverwrite(o)
	if err != nil {
		return nil, err
	}
	if p.DistributionScope, err = ReadScope(o); err != nil {
		return nil, err
	}
	if p.Overwrite && sub.User != "" && !sub.Privileged && token == "" {
		return nil, deniedField("overwrite_from_index_token",
			"overwrite_from_index needs overwrite_from_index_token: %s may not overwrite an index without one", sub.User)
	}
	if p.AddArches, err = o.Texts("add_arches"); err != nil {
		return nil, err
	}
	if p.BinaryImage, err = c.ReadBinaryImage(o); err != nil {
		return nil, err
	}
	if p.FromIndex, err = o.PullSpec("from_index"); err != nil {
		return nil, err
	}
	sub.Target, sub.Overwrite = p.FromIndex, p.Overwrite
	GrantToken(sub, p.FromIndex, token)
	return p, nil
}

// readOverwrite is C6 to C8.
func (p *Params) readOverwrite(o params.Object) (token string, err error) {
	if p.Overwrite, err = o.Bool("overwrite_from_index"); err != nil {
		return "", err
	}
	if o.Truthy("overwrite_from_index_token") {
		if token, err = o.Text("overwrite_from_index_token"); err != nil {
			return "", err
		}
	}
	if token != "" && !p.Overwrite {
		return "", sdk.FieldErrorf("overwrite_from_index", "overwrite_from_index must be true when overwrite_from_index_token is given")
	}
	return token, nil
}

// ReadScope reads distribution_scope by rule C9.
func ReadScope(o params.Object) (string, error) {
	scope, err := o.Text("distribution_scope")
	if err != nil {
		return "", err
	}
	scope = strings.ToLower(scope)
	if scope != "" && scopeRank(scope) < 0 {
		return "", sdk.FieldErrorf("distribution_scope", "distribution_scope %q is unknown: use dev, stage or prod", scope)
	}
	return scope, nil
}

// ReadBinaryImage reads binary_image by the rules C12 to C14.
func (c *Config) ReadBinaryImage(o params.Object) (string, error) {
	if o.Empty("binary_image") {
		if len(c.BinaryImages) == 0 {
			return "", sdk.FieldErrorf("binary_image", "binary_image is required: this server has no default for it")
		}
		return "", nil
	}
	return o.PullSpec("binary_image")
}

// BuildTags reads build_tags: sorted and without repetitions, each usable as a
// tag.
func BuildTags(o params.Object) ([]string, error) {
	if o.Null("build_tags") {
		return nil, nil
	}
	tags, err := o.UniqueTexts("build_tags")
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if !validTag(tag) {
			return nil, sdk.FieldErrorf("build_tags", "build_tags: %q cannot be a tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", tag)
		}
	}
	slices.Sort(tags)
	return tags, nil
}

func validTag(tag string) bool {
	if len(tag) > 128 || strings.HasPrefix(tag, ".") || strings.HasPrefix(tag, "-") {
		return false
	}
	for _, r := range tag {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return true
}

// GrantToken turns a token of the form user:password into a credential for one
// image's repository. Without a token or an image it does nothing.
func GrantToken(sub *sdk.Submission, image, token string) {
	if image == "" || token == "" {
		return
	}
	user, password, _ := strings.Cut(token, ":")
	sub.Grants = append(sub.Grants, sdk.Grant{Scope: repository(image), Username: user, Password: sdk.Secret(password)})
}

// repository cuts the tag or digest off a pull spec; a registry's port stays.
func repository(spec string) string {
	spec, _, _ = strings.Cut(spec, "@")
	if i := strings.LastIndexByte(spec, ':'); i > strings.LastIndexByte(spec, '/') {
		return spec[:i]
	}
	return spec
}

func deniedField(field, format string, args ...any) error {
	err := sdk.Errorf(sdk.Denied, format, args...)
	err.Field = field
	return err
}
