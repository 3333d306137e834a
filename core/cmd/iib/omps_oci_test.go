package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/sdktest/distribution"
	"github.com/iib-engine/iib/sdk/sdktest/loopback"
)

// TestPackagesAreKeptInAnotherRegistry has packages pushed, listed, pulled and
// deleted where they are artifacts in a registry that is not the engine's.
func TestPackagesAreKeptInAnotherRegistry(t *testing.T) {
	t.Parallel()
	files := operatorFiles("web", "1.0.0")
	archive := zipOf(t, files)
	team := basicAuth("team+ci", "not so secret 1")
	for name, start := range map[string]func(t *testing.T) string{
		"docker-registry": func(t *testing.T) string { return "http://" + distribution.Start(t) },
		"another engine":  func(t *testing.T) string { return startWith(t, keepsPackages(t), t.TempDir()).url },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := start(t)
			n := newNeighbours(t, archive)
			n.decide(200, `{"policies_satisfied": true}`)
			own := loopback.Address(t)
			startWith(t, tabled(t, own, n, fmt.Sprintf("target = \"oci\"\n    registry_url = %q\n    prefix = \"packages/old\"", registry)), t.TempDir())
			p := &pusher{t: t, base: "http://" + own, client: http.DefaultClient, auth: team}
			testWhatSucceeds(t, p, p, archive, "v2", "life")

			if status, answer := p.push("/v2/o/zipfile/1.2.3", "m.zip", archive); status != 200 {
				t.Fatal(status, answer)
			}
			_, data := p.do(http.MethodGet, "/cnr/api/v1/packages/o/web/1.2.3/helm/pull", "", nil)
			if diff := cmp.Diff(files, untar(t, data)); diff != "" {
				t.Error(diff)
			}
			_, list := p.do(http.MethodGet, "/cnr/api/v1/packages?namespace=o", "", nil)
			var packages []struct {
				Name     string
				Default  string
				Releases []string
			}
			if err := json.Unmarshal(list, &packages); err != nil || len(packages) != 1 || packages[0].Name != "o/web" || fmt.Sprint(packages[0].Releases) != "[1.2.3]" {
				t.Errorf("%s", list)
			}
			// The registry itself has it, as an artifact whose layer is what is pulled.
			there := func(path string) (int, []byte) {
				request, err := http.NewRequest(http.MethodGet, registry+"/v2/packages/old/o/web/"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
				request.Header.Set("Authorization", team)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				return response.StatusCode, body
			}
			var manifest struct {
				Layers []struct{ MediaType, Digest string }
			}
			status, text := there("manifests/1.2.3")
			if err := json.Unmarshal(text, &manifest); err != nil || status != 200 || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != "application/vnd.cnr.package.helm.v0.tar+gzip" {
				t.Fatalf("%d %s", status, text)
			}
			if _, blob := there("blobs/" + manifest.Layers[0].Digest); !bytes.Equal(blob, data) {
				t.Errorf("the layer has %d bytes, what is pulled %d, and they differ", len(blob), len(data))
			}
			if name == "another engine" {
				t.Run("its rights are those of packages", func(t *testing.T) {
					stranger := &pusher{t: t, base: p.base, client: p.client, auth: basicAuth("team+ci", "wrong")}
					if status, answer := stranger.push("/v2/o/zipfile", "m.zip", archive); status != 403 || answer["error"] != "QuayAuthorizationError" {
						t.Errorf("%d %v", status, answer)
					}
					if status, answer := stranger.json(http.MethodGet, "/cnr/api/v1/packages/o/web"); status != 403 {
						t.Errorf("%d %v", status, answer)
					}
				})
			}
			if status, answer := p.json(http.MethodDelete, "/v2/o/web"); status != 200 || fmt.Sprint(answer["deleted"]) != "[1.2.3]" {
				t.Errorf("%d %v", status, answer)
			}
			if status, _ := there("manifests/1.2.3"); status != 404 {
				t.Errorf("the registry still has it: %d", status)
			}
			if status, answer := p.json(http.MethodDelete, "/v2/o/web"); status != 404 || answer["error"] != "QuayPackageNotFound" {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
}

// keepsPackages is the shipped configuration with a registry that knows one robot.
func keepsPackages(t testing.TB) string {
	t.Helper()
	return shippedWithRegistry(t, `    repository "packages/**" { admins = ["team+ci"] }
    robot "team+ci" { secret = "not so secret 1" }`)
}
