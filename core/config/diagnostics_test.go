package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func terminal(t *testing.T, text string, color bool) string {
	t.Helper()
	path := write(t, text)
	_, found := Load(path, noEnv)
	var b strings.Builder
	if err := found.WriteTerminal(&b, color); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), path, "iib.hcl")
}

func TestTerminalShowsTheLineAndMarksThePlace(t *testing.T) {
	got := terminal(t, "server {\n\tmax_body\t= \"ü apples\" # why not\n\tx = 1\n}\n", false)
	const want = `Error: Invalid size
  iib.hcl:2:13

    2 |  max_body = "ü apples" # why not
                    ^^^^^^^^^^

  max_body = "ü apples" is not a size. Write a number of bytes, or a number with a unit, such as "512KiB" or "10MiB".

Error: Unknown setting
  iib.hcl:3:2

    3 |  x = 1
         ^

  The server block has no setting "x". There is "concurrency", "data_dir", "external_url", "listen", "log_format", "log_level", "max_body", "plugin_dir", "require_checksums" and "trusted_proxies".
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the text differs (-want +got):\n%s", diff)
	}
}

func TestTerminalUsesColorOnlyIfAsked(t *testing.T) {
	if got := terminal(t, "x = 1\n", true); !strings.Contains(got, "\x1b[1;31mError:\x1b[0m") {
		t.Errorf("no color in %q", got)
	}
	if got := terminal(t, "x = 1\n", false); strings.Contains(got, "\x1b") {
		t.Errorf("escapes in %q", got)
	}
}

func TestControlCharactersOfAFileDoNotReachTheTerminal(t *testing.T) {
	for _, text := range []string{
		"server { log_level = \"\x1b[2Jx\" }\n",
		"plugin \"\x1b[2J\" { kind = \"\\u001b[2J\" }\n",
		"# \x1b[2J\nserver { \x1b[2J }\n",
		"user \"a\\u202eb\" { queue = \"\u202e\" }\n",
	} {
		got := terminal(t, text, false)
		if got == "" || strings.ContainsAny(got, "\x1b\u202e") {
			t.Errorf("%q gives %q", text, got)
		}
	}
}

func TestLongLineIsShownAroundThePlace(t *testing.T) {
	text := "user \"a\" { " + strings.Repeat(" ", 500) + "queue = \"absent\"" + strings.Repeat(" ", 500) + " }\n"
	got := terminal(t, text, false)
	lines := strings.Split(got, "\n")
	if len(lines) < 5 || !strings.Contains(lines[3], `queue = "absent"`) || len(lines[3]) > 130 {
		t.Fatalf("the line is not shown:\n%s", got)
	}
	start := strings.Index(lines[4], "^")
	if marked := lines[3][start:][:strings.Count(lines[4], "^")]; marked != `"absent"` {
		t.Errorf("%q is marked", marked)
	}
}

func TestLogHasOneLinePerFindingAndErrorsOnlyErrors(t *testing.T) {
	path := write(t, "server {\n  listen = \":80\"\n  x = <<E\na\nE\n}\nqueue \"q\" {\n  concurrency = 0\n}\n")
	_, found := Load(path, noEnv)
	var log strings.Builder
	if err := found.WriteLog(&log); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(log.String(), "\n"); got != 3 || len(found) != 3 {
		t.Errorf("%d lines for %d findings:\n%s", got, len(found), log.String())
	}
	if !found.HasErrors() || !strings.Contains(found[0].String(), "warning: Open to everybody") {
		t.Errorf("findings: %v", found)
	}
	if err := found.Err(); err == nil || strings.Contains(err.Error(), "warning") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("the error is %v", err)
	}
	if err := found[:1].Err(); err != nil {
		t.Errorf("a warning is the error %v", err)
	}
}

func TestSuggestionsAreForSlipsOnly(t *testing.T) {
	names := []string{"handler", "gate", "notifier", "customizer", "builder", "service", "a-very-long-name-of-a-queue"}
	for written, want := range map[string]string{
		"gaet": "gate", "Gate": "gate", "handlr": "handler", "hanlder": "handler", "sevrices": "service",
		"a-very-lnog-name-of-the-queue": "a-very-long-name-of-a-queue", "gate": "", "": "", "x": "", "completely": "",
		strings.Repeat("gate", 1000): "",
	} {
		got := didYouMean(written, names)
		if want == "" && got != "" || want != "" && !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("%.40q: %q, want %q", written, got, want)
		}
	}
}
