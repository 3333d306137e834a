package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// exampleDir is where the files are that show how the engine is run.
const exampleDir = "../../../docs/examples/"

func exampleText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(exampleDir + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// understood has the program read a command line, up to its help.
func understood(t *testing.T, arguments []string) {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, bin: bin}
	p.want(exitOK, []string{"Usage:"}, append(slices.Clone(arguments), "--help")...)
	if c, _, err := newRoot().Find(arguments); err != nil || !c.Runnable() {
		t.Errorf("iib %s: there is no such command: %v", strings.Join(arguments, " "), err)
	}
}

var units = []string{"iib.service", "iib-worker@.service"}

func TestUnitsOfSystemd(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range units {
		unit := exampleText(t, "systemd/"+name)
		command := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/iib (.*)$`).FindStringSubmatch(unit)
		if command == nil {
			t.Fatalf("%s starts no iib", name)
		}
		understood(t, strings.Fields(command[1]))
		for _, setting := range []string{"User=iib", "KillMode=mixed", "NoNewPrivileges=yes", "PrivateTmp=yes", "StateDirectory=iib", "ExecReload=/bin/kill -HUP $MAINPID"} {
			if !strings.Contains(unit, "\n"+setting) {
				t.Errorf("%s lacks %s", name, setting)
			}
		}
		unit = strings.ReplaceAll(unit, "/usr/bin/iib", filepath.Join(bin, "iib"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	real.Need(t, "systemd-analyze")
	for _, name := range []string{"iib.service", "iib-worker@1.service"} {
		command := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, name))
		if out, err := command.CombinedOutput(); err != nil || strings.Contains(string(out), dir) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestTheComposition(t *testing.T) {
	t.Parallel()
	var composition struct {
		Services map[string]struct {
			Image, Restart string
			Command        []string
			Volumes        []string
			Environment    map[string]string
			Secrets        []string
			DependsOn      map[string]struct{ Condition string } `yaml:"depends_on"`
			CapDrop        []string                              `yaml:"cap_drop"`
			Build          struct{ Context, Dockerfile string }
			Healthcheck    struct{ Test []string }
		}
		Secrets map[string]struct{ File string }
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(exampleText(t, "compose.yaml")), &composition); err != nil {
		t.Fatal(err)
	}
	engines := 0
	for name, s := range composition.Services {
		for needed := range s.DependsOn {
			if len(composition.Services[needed].Healthcheck.Test) == 0 {
				t.Errorf("%s waits for the health of %s, which tells none", name, needed)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := composition.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(exampleDir + source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.Image != "iib" {
			continue
		}
		engines++
		understood(t, s.Command)
		if s.Environment["IIB_DATABASE_URL"] == "" || s.Environment["IIB_REDIS_URL"] == "" || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s: %+v", name, s)
		}
		for _, secret := range s.Secrets {
			if composition.Secrets[secret].File == "" {
				t.Errorf("%s: there is no secret %s", name, secret)
			}
		}
	}
	if engines != 2 {
		t.Errorf("%d services are the engine", engines)
	}
	build := composition.Services["api"].Build
	if _, err := os.Stat(filepath.Join(exampleDir, build.Context, build.Dockerfile)); err != nil {
		t.Error(err)
	}
}

func TestTheContainerfile(t *testing.T) {
	t.Parallel()
	text := exampleText(t, "Containerfile")
	_, last, ok := strings.Cut(text, "\nFROM scratch\n")
	if !ok || !strings.Contains(text, "\nENV CGO_ENABLED=0\n") {
		t.Error("it does not build from scratch, without C")
	}
	for _, line := range []string{"USER 65532:65532", `ENTRYPOINT ["/usr/bin/iib"]`, "COPY --from=build /src/bin/plugins /usr/lib/iib/plugins"} {
		if !strings.Contains(last, "\n"+line+"\n") {
			t.Errorf("it lacks %s", line)
		}
	}
	command := regexp.MustCompile(`(?m)^CMD \[(.*)\]$`).FindStringSubmatch(last)
	if command == nil {
		t.Fatal("it has no command")
	}
	understood(t, strings.Split(strings.ReplaceAll(command[1], `"`, ""), ", "))
}

// The configurations of the examples are valid, with the plugins that are built
// here and a key.
func TestConfigurationsOfTheExamples(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"systemd/iib.hcl", "compose.hcl"} {
		dir := t.TempDir()
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, []byte(strings.Repeat("5e", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		config := exampleText(t, name)
		for from, to := range map[string]string{"/usr/lib/iib/plugins": filepath.Join(bin, "plugins"), "/etc/iib/secret.key": key, "/run/secrets/iib_key": key, "/var/lib/iib": dir} {
			config = strings.ReplaceAll(config, `"`+from, `"`+to)
		}
		file := filepath.Join(dir, "iib.hcl")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &process{t: t, bin: bin, env: []string{"IIB_DATABASE_URL=postgres://iib:x@db.example.com/iib", "IIB_REDIS_URL=redis://redis.example.com/0"}, dataDir: dir}
		p.want(exitOK, []string{"is valid"}, "validate", file)
	}
}
