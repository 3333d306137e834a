package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
)

// TestPublishedOperatorsArePushedAndPulled has the program take published
// operators in package-manifest form and give them back: the first three of the
// archive, or all with IIB_REAL_ALL. The plugin's own tests push all of them.
func TestPublishedOperatorsArePushedAndPulled(t *testing.T) {
	most := 3
	if os.Getenv("IIB_REAL_ALL") != "" {
		most = published.All
	}
	packages := published.PackageManifests(t, most, 3)
	_, at := startPushService(t, `    max_body         = 67108864
    max_uncompressed = 67108864`)
	for name, files := range packages {
		archive := zipOf(t, files)
		for _, version := range []string{"1.0.0", "2.0.0"} {
			status, answer := at.push("/v2/real/zipfile", "manifests.zip", archive)
			if status != 200 || answer["repo"] != name || answer["version"] != version {
				t.Fatalf("%s: %d %.2000s", name, status, fmt.Sprint(answer))
			}
		}
		for _, query := range []string{"default", "1.0.0"} {
			_, data := at.do(http.MethodGet, "/cnr/api/v1/packages/real/"+name+"/"+query+"/helm/pull", "", nil)
			if diff := cmp.Diff(files, untar(t, data)); diff != "" {
				t.Errorf("%s %s: %s", name, query, diff)
			}
		}
	}
	_, list := at.do(http.MethodGet, "/cnr/api/v1/packages?namespace=real&media_type=helm", "", nil)
	for name := range packages {
		if want := fmt.Sprintf(`"name":"real/%s"`, name); strings.Count(string(list), want) != 1 {
			t.Errorf("%s is not listed once: %.2000s", name, list)
		}
	}
	t.Logf("%d packages", len(packages))
}
