package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/image/imagetest"
)

const everyStep = `
organization "company" {
  customize "resolve_image_pullspecs" {}
  customize "related_bundles" {}
  customize "perform_bundle_replacements" {}
  customize "image_name_from_labels" { template = "{name}-{version}" }
  customize "enclose_repo" {
    namespace      = "company"
    enclosure_glue = "----"
  }
  customize "registry_replacements" { replacements = { "quay.io" = "registry.company.com" } }
  customize "package_name_suffix" { suffix = "-cmp" }
  customize "csv_annotations" { annotations = { workflow = "{package_name}" } }
}
`

// BenchmarkRegenerateBundle is a bundle with a CSV of 150 KB and 30 images,
// for four architectures, from the submission to the answer that it is done.
// The engine has seen the images before.
func BenchmarkRegenerateBundle(b *testing.B) {
	r := newReleases(b, startServer(b, everyStep))
	var images []string
	for i := range 30 {
		images = append(images, r.push(fmt.Sprintf("operand-%d:v1", i), imagetest.Image{
			Labels: map[string]string{"name": fmt.Sprintf("ns/operand-%d", i), "version": "1"},
		}))
	}
	files := bundleFiles(images...)
	const csv = "manifests/etcd.clusterserviceversion.yaml"
	files[csv] = append(files[csv], "  description: |\n"+strings.Repeat("    an operator is described at length, with lists and images\n", 2300)...)
	spec := r.push("etcd:v1", imagetest.Image{Arches: imagetest.Arches, Files: files})
	for name, organization := range map[string]string{"the default steps": "", "every step": "company"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r.run("regenerate-bundle", "complete", map[string]any{"from_bundle_image": spec, "organization": organization})
			}
		})
	}
}
