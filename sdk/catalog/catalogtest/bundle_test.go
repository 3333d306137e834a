package catalogtest_test

import (
	"bytes"
	"testing"

	"github.com/iib-engine/iib/sdk/catalog"
	"github.com/iib-engine/iib/sdk/catalog/catalogtest"
)

func TestBundleMeansTheSameInJSONAndYAML(t *testing.T) {
	spec := catalogtest.Operator(7, 1, 2)[1]
	yaml, err := spec.Read(spec.Image(catalogtest.Registry))
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

func TestOperatorMakesAWholePackage(t *testing.T) {
	for i := range 3 {
		var bundles []*catalog.Bundle
		for _, spec := range catalogtest.Operator(7, i, 4) {
			b, err := spec.Read(spec.Image(catalogtest.Registry))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(b.Blob.JSON); n < 10_000 || n > 60_000 {
				t.Errorf("bundle %s has %d bytes", b.Name, n)
			}
			bundles = append(bundles, b)
		}
		p, err := catalog.Add(nil, bundles, catalog.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := p.Config()
		if err != nil || len(cfg.Bundles) != 4 || len(cfg.Channels) != 1+i {
			t.Errorf("%d bundles in %d channels, %v", len(cfg.Bundles), len(cfg.Channels), err)
		}
	}
}
