package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/blang/semver/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.yaml.in/yaml/v3"
)

// perPackage is how many versions of a package are pushed: the highest ones.
const perPackage = 3

// realPackages are published operators in package-manifest form, made of the
// bundles in the archive that IIB_REAL_BUNDLES names.
func realPackages(t *testing.T) map[string]map[string]string {
	archive := os.Getenv("IIB_REAL_BUNDLES")
	if archive == "" {
		t.Skip("IIB_REAL_BUNDLES names no archive of published bundles")
	}
	versions := make(map[string][]string)
	walk := func(visit func(pkg, version, name string, r io.Reader)) {
		file, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		decoder, err := zstd.NewReader(file, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer decoder.Close()
		for r := tar.NewReader(decoder); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(path.Clean(header.Name), "/")
			if len(parts) >= 5 && parts[3] == "manifests" && header.Typeflag == tar.TypeReg {
				visit(parts[1], parts[2], strings.Join(parts[4:], "/"), r)
			}
		}
	}
	walk(func(pkg, version, _ string, _ io.Reader) {
		if !slices.Contains(versions[pkg], version) {
			versions[pkg] = append(versions[pkg], version)
		}
	})
	for _, list := range versions {
		slices.SortFunc(list, func(a, b string) int {
			one, _ := semver.ParseTolerant(a)
			two, _ := semver.ParseTolerant(b)
			return two.Compare(one)
		})
	}
	packages := make(map[string]map[string]string)
	heads := make(map[string]string)
	walk(func(pkg, version, name string, r io.Reader) {
		latest := versions[pkg][:min(perPackage, len(versions[pkg]))]
		if !slices.Contains(latest, version) {
			return
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if packages[pkg] == nil {
			packages[pkg] = make(map[string]string)
		}
		packages[pkg][version+"/"+name] = string(data)
		var csv struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if version == latest[0] && yaml.Unmarshal(data, &csv) == nil && csv.Kind == "ClusterServiceVersion" {
			heads[pkg] = csv.Metadata.Name
		}
	})
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
