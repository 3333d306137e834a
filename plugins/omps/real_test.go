package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/sdk/bundle/bundletest/published"
)

// atMost bounds the packages that are tried.
var atMost = published.All

func TestRealPackagesComeBackAsTheyWent(t *testing.T) {
	packages := published.PackageManifests(t, atMost, 3)
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
