package catalogtest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

func TestCatalogIsWholeAndTheSameEveryTime(t *testing.T) {
	var first []byte
	for range 2 {
		dir := t.TempDir()
		names, err := catalogtest.WriteCatalog(dir, 7, 3, 4)
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(dir, name, "catalog.json"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data...)
			blobs, err := catalog.ReadBlobs(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			p := &catalog.Package{Name: name, Blobs: blobs}
			if err := p.Validate(); err != nil {
				t.Error(err)
			}
			if per := len(data) / 4; per < 10_000 || per > 60_000 {
				t.Errorf("package %s has %d bytes per bundle", name, per)
			}
		}
		if first == nil {
			first = all
		}
		if !bytes.Equal(first, all) {
			t.Error("the second catalog differs from the first")
		}
	}
}

func TestBundleMeansTheSameInJSONAndYAML(t *testing.T) {
	spec := catalogtest.Operator(7, 1, 2)[1]
	yaml, err := spec.Read("registry.example.com/x@sha256:0000000000000000000000000000000000000000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	spec.JSON = true
	json, err := spec.Read(yaml.Image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(yaml.Blob.JSON, json.Blob.JSON) {
		t.Error("the blobs differ")
	}
}

func TestBundleIsTheSameOnDisk(t *testing.T) {
	spec := catalogtest.Operator(7, 2, 1)[0]
	dir := t.TempDir()
	if err := spec.Write(dir); err != nil {
		t.Fatal(err)
	}
	image := spec.Image(catalogtest.Registry)
	disk, err := catalog.ReadBundle(dir, image)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := spec.Read(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk.Blob.JSON, memory.Blob.JSON) {
		t.Error("the blobs differ")
	}
}
