package printed

import (
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "a\nb\n\n": "b", "a\x1b[2Jb": "a [2Jb", strings.Repeat("y", 600): strings.Repeat("y", 500) + "..."} {
		if got := LastLine(text); got != want {
			t.Errorf("%.20q: got %q", text, got)
		}
	}
}
