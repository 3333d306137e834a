package main

import (
	"fmt"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// subject is a bundle as Greenwave knows it.
type subject struct {
	image sdk.Image
	// nvr is the name, version and release of the bundle's build.
	nvr string
}

// nvrLabels are an image's labels that make its build's name, in their order.
var nvrLabels = []string{"com.redhat.component", "version", "release"}

// subjectsOf returns the subjects of the images, each image once. It is Invalid
// if labels are missing; all of them are named.
func subjectsOf(images []sdk.Image) ([]subject, error) {
	var subjects []subject
	var faults []string
	seen := make(map[string]bool)
	for _, image := range images {
		if seen[image.String()] {
			continue
		}
		seen[image.String()] = true
		var parts, missing []string
		for _, label := range nvrLabels {
			if value := image.Labels[label]; value != "" {
				parts = append(parts, value)
			} else {
				missing = append(missing, label)
			}
		}
		if len(missing) > 0 {
			faults = append(faults, fmt.Sprintf("Bundle %s lacks the %s %s.", image, plural(len(missing), "label"), list(missing)))
			continue
		}
		subjects = append(subjects, subject{image, strings.Join(parts, "-")})
	}
	if len(faults) > 0 {
		return nil, sdk.Errorf(sdk.Invalid, "Greenwave knows a bundle by the labels %s of its image. %s "+
			"Build the bundle with these labels and submit the request again.", list(nvrLabels), strings.Join(faults, " "))
	}
	return subjects, nil
}

// at is the name of a setting in the i-th query block.
func at(i int, setting string) string { return fmt.Sprintf("query[%d].%s", i, setting) }

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// list joins words as a sentence does.
func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
