package coretest_test

import (
	"testing"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/core/coretest"
)

func TestMemory(t *testing.T) {
	coretest.Store(t, func(*testing.T) core.Store { return coretest.NewMemory(nil) })
}
