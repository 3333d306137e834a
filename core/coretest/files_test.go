package coretest_test

import (
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
)

func TestFiles(t *testing.T) {
	coretest.CheckFiles(t, func(*testing.T) (a, b core.Files) {
		files := new(coretest.Files)
		return files, files
	})
}
