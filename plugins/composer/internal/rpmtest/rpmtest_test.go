package rpmtest

import (
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestDistribution(t *testing.T) {
	dir := Distribution(t)
	found, err := filepath.Glob(dir + "/*.rpm")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(Packages()) {
		t.Fatalf("there are %d packages in %s, want %d", len(found), dir, len(Packages()))
	}
}
