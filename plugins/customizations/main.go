// Command customizations is the customizer with the eight steps that an
// organization's bundles can go through when they are regenerated.
package main

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/serve"
)

func main() { serve.Plugin(plugin()) }

func plugin() sdk.Plugin {
	images := new(images)
	return sdk.Plugin{
		Name: "customizations",
		Doc:  "Pins, renames and annotates regenerated bundles.",
		Customizers: map[string]sdk.Customizer{
			"resolve_image_pullspecs":     &resolveImagePullspecs{images: images},
			"related_bundles":             &relatedBundles{images: images},
			"registry_replacements":       &registryReplacements{},
			"perform_bundle_replacements": &performBundleReplacements{images: images},
			"image_name_from_labels":      &imageNameFromLabels{images: images},
			"enclose_repo":                &encloseRepo{},
			"package_name_suffix":         &packageNameSuffix{},
			"csv_annotations":             &csvAnnotations{},
		},
	}
}
