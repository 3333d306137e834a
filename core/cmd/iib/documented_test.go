package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentedPluginsAreValid checks the blocks that the documents show, with
// the plugins that they name.
func TestDocumentedPluginsAreValid(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range []string{"docs/configuration.md", "plugins/greenwave/README.md", "plugins/amqp-notify/README.md"} {
		text, err := os.ReadFile(filepath.Join("../../..", document))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```hcl\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.HasPrefix(block, `plugin "greenwave"`) && !strings.HasPrefix(block, `plugin "amqp-notify"`) {
				continue
			}
			found++
			t.Run(document, func(t *testing.T) {
				config := `identity "none" {}
queue "default" {}
queue "stage-serial" {}
plugin "index-add" { kind = "handler" }
plugin "regenerate-bundle" { kind = "handler" }
` + block
				file := filepath.Join(t.TempDir(), "iib.hcl")
				if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
					t.Fatal(err)
				}
				command := exec.Command(filepath.Join(bin, "iib"), "validate", file)
				command.Env = append(os.Environ(), "IIB_DATA_DIR="+t.TempDir())
				if out, err := command.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s\n%s", err, out, block)
				}
			})
		}
	}
	if found != 4 {
		t.Errorf("the documents show %d blocks, want 4", found)
	}
}

func TestValidateBlamesTheLineOfAPluginsSetting(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ config, line, says string }{
		{"plugin \"greenwave\" {\n  kind = \"gate\"\n  config {\n    url = \"https://g\"\n    query \"default\" {\n      decision_context = \"c\"\n      product_version = \"\"\n    }\n  }\n}\n",
			"9", "product_version: it is empty"},
		{"plugin \"amqp-notify\" {\n  kind = \"notifier\"\n  config {\n    urls = [\"amqps://iib:hidden@b\"]\n    build_destination = \"b\"\n  }\n}\n",
			"6", "these belong into username and password"},
	} {
		file := filepath.Join(t.TempDir(), "iib.hcl")
		if err := os.WriteFile(file, []byte("identity \"none\" {}\nqueue \"default\" {}\n"+c.config), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(filepath.Join(bin, "iib"), "validate", file)
		command.Env = append(os.Environ(), "IIB_DATA_DIR="+t.TempDir())
		out, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "iib.hcl:"+c.line) || !strings.Contains(string(out), c.says) {
			t.Errorf("want line %s and %q:\n%s", c.line, c.says, out)
		}
	}
}
