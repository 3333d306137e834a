package main

import (
	"context"
	"encoding/json"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/params"
)

// handler runs regenerate-bundle requests. It has no settings: what is done to
// a bundle is set at the organizations.
type handler struct{ registries registries }

var (
	_ sdk.Handler   = (*handler)(nil)
	_ sdk.Acceptor  = (*handler)(nil)
	_ sdk.Describer = (*handler)(nil)
)

// request is the normalised parameters.
type request struct {
	FromBundleImage    string            `json:"from_bundle_image"`
	Organization       string            `json:"organization,omitempty"`
	BundleReplacements map[string]string `json:"bundle_replacements,omitempty"`
	// UnreadableAuths are registries whose credentials were not what a
	// config.json has. The contract lets the job fail on them.
	UnreadableAuths []string `json:"unreadable_auths,omitempty"`
}

// Accept judges a submission in the order of the contract's section 2.7.
func (h *handler) Accept(_ context.Context, sub *sdk.Submission) error {
	o, err := params.Parse(sub.Body)
	if err != nil {
		return err
	}
	if err := o.Check([]string{"from_bundle_image"}, []string{"bundle_replacements", "organization", "registry_auths"}); err != nil {
		return err
	}
	var r request
	if o.Truthy("bundle_replacements") {
		if r.BundleReplacements, err = o.TextMap("bundle_replacements"); err != nil {
			return err
		}
	}
	if o.Truthy("organization") {
		if r.Organization, err = o.Text("organization"); err != nil {
			return err
		}
	}
	if r.FromBundleImage, err = o.Text("from_bundle_image"); err != nil {
		return err
	}
	if sub.Grants, r.UnreadableAuths, err = o.RegistryAuths("registry_auths"); err != nil {
		return err
	}
	if err := sdk.CheckPullSpec("from_bundle_image", r.FromBundleImage); err != nil {
		return err
	}
	if sub.Params, err = json.Marshal(r); err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	return r.setFields(sub)
}

func (r *request) setFields(sub *sdk.Submission) error {
	replacements := r.BundleReplacements
	if replacements == nil {
		replacements = map[string]string{}
	}
	var organization *string
	if r.Organization != "" {
		organization = &r.Organization
	}
	for name, value := range map[string]any{
		"from_bundle_image":          r.FromBundleImage,
		"from_bundle_image_resolved": nil,
		"bundle_image":               nil,
		"organization":               organization,
		"bundle_replacements":        replacements,
	} {
		if err := sub.SetField(name, value); err != nil {
			return err
		}
	}
	return nil
}

// artifact is the file that the customization related_bundles writes.
const artifact = "related_bundles"

// Describe documents the type: the contract's sections 2.7, 3.3, 4.3 and 5.2.
func (h *handler) Describe() sdk.HandlerDoc {
	return sdk.HandlerDoc{
		Summary: "Regenerate a bundle image with the customizations of an organization.",
		Params: []sdk.ParamDoc{
			{Name: "from_bundle_image", Doc: "The bundle image to regenerate.", Required: true, Schema: params.SchemaText, Example: json.RawMessage(`"quay.io/namespace/bundle:v1.0.0"`)},
			{Name: "organization", Doc: "Whose customizations to apply; without one, or for one that is not configured, the default ones.", Schema: params.SchemaTextOrNull, Example: json.RawMessage(`"company-marketplace"`)},
			{Name: "bundle_replacements", Doc: "Pull specs of related bundles to the pull specs that take their places.", Schema: params.SchemaTextMap, Example: json.RawMessage(`{"quay.io/namespace/other-bundle:v1.0.0": "quay.io/namespace/other-bundle:v1.0.1"}`)},
			{Name: "registry_auths", Doc: "Registry credentials for this request, in the form of a Docker config.json with the one key auths.", Secret: true, Schema: params.SchemaObject, Example: json.RawMessage(`{"auths": {"registry.example.com/namespace": {"auth": "dXNlcjpwYXNzd29yZA=="}}}`)},
		},
		Fields: []sdk.FieldDoc{
			{Name: "from_bundle_image", Doc: "The bundle image that was asked for.", Schema: params.SchemaText, Image: true},
			{Name: "from_bundle_image_resolved", Doc: "The same by digest.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			{Name: "bundle_image", Doc: "The regenerated image, once there is one.", Schema: params.SchemaTextOrNull, Shape: sdk.ShapeImage, Image: true},
			{Name: "organization", Doc: "Whose customizations were asked for.", Schema: params.SchemaTextOrNull},
			{Name: "bundle_replacements", Doc: "The replacements that were asked for.", Schema: params.SchemaTextMap, Shape: sdk.ShapeIgnored},
		},
		Artifacts: []sdk.ArtifactDoc{
			{Name: artifact, Path: "related_bundles", Field: "related_bundles", ContentType: "application/json"},
		},
	}
}
