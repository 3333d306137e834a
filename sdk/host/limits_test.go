package host

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/sdk"
)

func TestLimits(t *testing.T) {
	t.Run("end a process that has too much memory", func(t *testing.T) {
		c := command(t, "")
		c.Limits.Memory = 256 << 20
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "eat"); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("got %v", err)
		}
		if got := p.Outcome(); !strings.Contains(got, "of memory and may have 256") {
			t.Errorf("outcome: %s", got)
		}
	})
	t.Run("end a process that has used too much time", func(t *testing.T) {
		c := command(t, "")
		c.Limits.CPUTime = 500 * time.Millisecond
		p := launched(t, c)
		if _, err := ask(t.Context(), p, "spin"); sdk.CodeOf(err) != sdk.Unavailable {
			t.Errorf("got %v", err)
		}
		if got := p.Outcome(); !strings.Contains(got, "of processor time and may have 500ms") {
			t.Errorf("outcome: %s", got)
		}
	})
	t.Run("let calls for more files fail", func(t *testing.T) {
		c := command(t, "")
		c.Limits.OpenFiles = 50
		answer, err := ask(t.Context(), launched(t, c), "open")
		if n, _ := strconv.Atoi(answer); err != nil || n < 10 || n > 50 {
			t.Errorf("%s files could be opened, %v", answer, err)
		}
	})
	t.Run("tell a Go program of its memory, unless its environment does", func(t *testing.T) {
		c := command(t, "")
		c.Limits.Memory = 1000 << 20
		answer, err := ask(t.Context(), launched(t, c), "facts")
		if err != nil || !strings.Contains(answer, `"GOMEMLIMIT=943718400"`) {
			t.Errorf("got %s, %v", answer, err)
		}
		c.Env["GOMEMLIMIT"] = "123456789"
		answer, err = ask(t.Context(), launched(t, c), "facts")
		if err != nil || !strings.Contains(answer, `"GOMEMLIMIT=123456789"`) || strings.Contains(answer, "943718400") {
			t.Errorf("got %s, %v", answer, err)
		}
	})
}
