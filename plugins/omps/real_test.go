package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
)

// perPackage is how many versions of a package are pushed: the highest ones.
const perPackage = 3

// atMost bounds the packages that are tried.
var atMost = published.All

// realPackages are published operators in package-manifest form.
func realPackages(t *testing.T) map[string]map[string]string {
	versions := make(map[string][]string)
	for b := range published.Bundles(t, atMost) {
		versions[b.Package] = append(versions[b.Package], b.Version)
	}
	for _, list := range versions {
		slices.SortStableFunc(list, func(a, b string) int { return published.Compare(b, a) })
	}
	packages := make(map[string]map[string]string)
	heads := make(map[string]string)
	for b := range published.Bundles(t, atMost) {
		latest := versions[b.Package][:min(perPackage, len(versions[b.Package]))]
		if !slices.Contains(latest, b.Version) {
			continue
		}
		if packages[b.Package] == nil {
			packages[b.Package] = make(map[string]string)
		}
		for name, data := range b.Files {
			name, isManifest := strings.CutPrefix(name, "manifests/")
			if !isManifest {
				continue
			}
			packages[b.Package][b.Version+"/"+name] = string(data)
			var csv struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if b.Version == latest[0] && yaml.Unmarshal(data, &csv) == nil && csv.Kind == "ClusterServiceVersion" {
				heads[b.Package] = csv.Metadata.Name
			}
		}
	}
	for pkg, files := range packages {
		files["package.yaml"] = fmt.Sprintf("packageName: %s\nchannels:\n- name: stable\n  currentCSV: %s\n", pkg, heads[pkg])
	}
	return packages
}

func TestRealPackagesComeBackAsTheyWent(t *testing.T) {
	packages := realPackages(t)
	url := serveOMPS(t, images(t), func(s *Settings) { s.MaxBody, s.MaxUncompressed = 64<<20, 64<<20 })
	for pkg, files := range packages {
		t.Run(pkg, func(t *testing.T) {
			status, answer := upload(t, url+"/v2/real/zipfile", zipOf(t, files))
			if status != http.StatusOK {
				t.Fatalf("%d %.2000s", status, fmt.Sprint(answer))
			}
			_, data := ask(t, http.MethodGet, url+"/cnr/api/v1/packages/real/"+pkg+"/default/helm/pull", nil, nil)
			compressed, err := gzip.NewReader(bytes.NewReader([]byte(data.(string))))
			if err != nil {
				t.Fatal(err)
			}
			pulled := make(map[string]string)
			for r := tar.NewReader(compressed); ; {
				header, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if header.Typeflag == tar.TypeReg {
					content, err := io.ReadAll(r)
					if err != nil {
						t.Fatal(err)
					}
					pulled[strings.TrimPrefix(header.Name, pkg+"-1.0.0/")] = string(content)
				}
			}
			if diff := cmp.Diff(files, pulled); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Logf("%d packages", len(packages))
}
