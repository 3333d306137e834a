package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs recursive-related-bundles requests. Its exported fields are the
// plugin's settings.
type handler struct {
	MaxRelatedBundles int `hcl:"max_related_bundles,optional" doc:"How many related bundles are too many. Default: 15."`

	registries registries
}

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
	_ sdk.Validator = (*handler)(nil)
)

const defaultMax = 15

// Validate checks the settings.
func (h *handler) Validate() error {
	if h.MaxRelatedBundles < 0 {
		return sdk.FieldErrorf("max_related_bundles", "max_related_bundles is %d; it cannot be negative", h.MaxRelatedBundles)
	}
	return nil
}

// request is the normalised parameters.
type request struct {
	ParentBundleImage string `json:"parent_bundle_image"`
	Organization      string `json:"organization,omitempty"`
	// UnreadableAuths are registries whose credentials were not what a
	// config.json has. The contract lets the job fail on them.
	UnreadableAuths []string `json:"unreadable_auths,omitempty"`
}

// Accept judges a submission in the order of the contract's section 2.8.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	if err := o.Check([]string{"parent_bundle_image"}, []string{"organization", "registry_auths"}); err != nil {
		return err
	}
	var r request
	if o.Truthy("organization") {
		if r.Organization, err = o.Text("organization"); err != nil {
			return err
		}
	}
	if r.ParentBundleImage, err = o.Text("parent_bundle_image"); err != nil {
		return err
	}
	if sub.Grants, r.UnreadableAuths, err = o.RegistryAuths("registry_auths"); err != nil {
		return err
	}
	if err := sdk.CheckPullSpec("parent_bundle_image", r.ParentBundleImage); err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(r); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	return r.setFields(sub)
}

func (r *request) setFields(sub *sdk.Submission) error {
	var organization *string
	if r.Organization != "" {
		organization = &r.Organization
	}
	for name, value := range map[string]any{
		"parent_bundle_image":          r.ParentBundleImage,
		"parent_bundle_image_resolved": nil,
		"organization":                 organization,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// artifact is the file with the result.
const artifact = "recursive_related_bundles"

// Describe documents the type: the contract's sections 2.8, 3.4, 4.3 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "List the bundles that a bundle relates to, and those that these relate to.",
		Params: []sdk.ParamDoc{
			{Name: "parent_bundle_image", Doc: "The bundle image to begin with.", Required: true, Schema: params.SchemaText, Example: json.RawMessage(`"quay.io/namespace/bundle:v1.0.0"`)},
			{Name: "organization", Doc: "Whose customizations, up to the list of related bundles, each bundle goes through before its images are looked at.", Schema: params.SchemaTextOrNull, Example: json.RawMessage(`"company-marketplace"`)},
			{Name: "registry_auths", Doc: "Registry credentials for this request, in the form of a Docker config.json with the one key auths.", Secret: true, Schema: params.SchemaObject, Example: json.RawMessage(`{"auths": {"registry.example.com/namespace": {"auth": "dXNlcjpwYXNzd29yZA=="}}}`)},
		},
		Fields: []sdk.FieldDoc{
			{Name: "parent_bundle_image", Doc: "The bundle image that was asked for.", Schema: params.SchemaText, Image: true},
			{Name: "parent_bundle_image_resolved", Doc: "The same by digest.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			{Name: "organization", Doc: "Whose customizations were asked for.", Schema: params.SchemaTextOrNull},
		},
		Artifacts: []sdk.ArtifactDoc{
			{Name: artifact, Path: "nested-bundles", Field: "nested_bundles", ContentType: "application/json"},
		},
	}
}
