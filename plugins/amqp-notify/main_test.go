package main

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/rabbitmq"
)

// What the broker does not have, or does not give.
const (
	missing   = "/exchange/missing/to"
	forbidden = "/queue/forbidden"
)

// theRabbit returns the broker that all tests share: it takes seconds to start.
// A test that kills it starts it again.
func theRabbit(t *testing.T) *rabbitmq.Broker {
	t.Helper()
	rabbitmq.Need(t)
	shared.once.Do(func() { shared.Broker = rabbitmq.New(&suite) })
	return shared.Broker
}

var shared struct {
	once sync.Once
	*rabbitmq.Broker
}

// suite stands for the whole run where a testing.TB is asked for.
var suite suiteTB

type suiteTB struct {
	testing.TB
	cleanups []func()
}

func (*suiteTB) Helper() {}

func (*suiteTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (*suiteTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *suiteTB) TempDir() string {
	dir, err := os.MkdirTemp("", "iib-rabbit-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *suiteTB) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func TestMain(m *testing.M) {
	code := m.Run()
	for i := range suite.cleanups {
		suite.cleanups[len(suite.cleanups)-1-i]()
	}
	os.Exit(code)
}
