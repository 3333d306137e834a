package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/core/config"
)

// trialLimit bounds the start of a plugin, and then what it has to say of its
// settings.
const trialLimit = 10 * time.Second

func (d *doctor) checkPlugins(ctx context.Context) []finding {
	trials, err := tryPlugins(ctx, d.config, trialLimit)
	if err != nil {
		return []finding{wrong("make the directory for temporary files, which TMPDIR names, writable", "%v", err)}
	}
	defer trials.end()
	if len(trials.list) == 0 {
		return []finding{warning("add plugin blocks", "no plugin is enabled: no request can be accepted")}
	}
	var found []finding
	for _, one := range trials.list {
		// What is known of the file says more than the attempt to start it.
		mistakes := d.config.CheckProgram(one.plugin)
		if !mistakes.HasErrors() {
			mistakes = append(mistakes, one.found...)
		}
		lines := diagnosed(mistakes)
		if !mistakes.HasErrors() {
			live := one.live.Describe()
			lines = append([]finding{okay("%s %s, sha256:%.12s…", one.plugin.Kind, live.Version, one.live.SHA256())}, lines...)
		}
		for _, f := range lines {
			f.Check = "plugin " + one.plugin.Name
			found = append(found, f)
		}
	}
	return append(found, diagnosed(trials.together(ctx, d.config))...)
}

// directory is one that the engine keeps something in.
type directory struct{ use, path string }

func (d *doctor) checkDisks() []finding {
	data := d.config.Server.DataDir
	var found []finding
	home := directory{"data", data}
	for _, dir := range []directory{home, {"work", filepath.Join(data, workSubdir)}, {"cache", filepath.Join(data, "cache")}, {"artifacts", d.config.Artifacts.Dir}} {
		if dir.path != "" {
			found = append(found, dir.check())
		}
	}
	if info, err := os.Stat(data); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
			found = append(found, warning("run it as the user that the engine runs as",
				"%s belongs to user %d and this is user %d: what is said here of permissions may not hold for the engine", data, stat.Uid, os.Geteuid()))
		}
	}
	return append(found, d.checkDatabaseDisk()...)
}

// check looks at a directory, or at the one that it will be made in.
func (dir directory) check() finding {
	at, state := dir.path, ""
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return wrong("remove it, or name another directory", "%s directory %s: %s is a file", dir.use, dir.path, at)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return wrong("correct its path or its permissions", "%s directory: %v", dir.use, err)
		}
		at, state = filepath.Dir(at), ", will be made at the first start"
	}
	disk, err := diskOf(at)
	if err != nil {
		return wrong("correct its path or its permissions", "%s directory %s: %v", dir.use, dir.path, err)
	}
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		return wrong(fmt.Sprintf("let the user %d, which runs this, write in %s", os.Geteuid(), at),
			"%s directory %s%s: %s cannot be written: %v", dir.use, dir.path, state, at, err)
	}
	if err := disk.enough(); err != nil {
		return wrong("make room: delete "+filepath.Join("DATA_DIR", "cache")+", shorten artifacts.keep, or use a larger disk", "%s directory %s%s: %v", dir.use, dir.path, state, err)
	}
	return okay("%s directory %s%s: %.1f GiB free", dir.use, dir.path, state, float64(disk.free())/(1<<30))
}

// checkDatabaseDisk warns of SQLite on file systems that do not keep several
// processes, or machines, from writing at once.
func (d *doctor) checkDatabaseDisk() []finding {
	condition, err := d.database()
	if err != nil || condition.File == "" || condition.Missing {
		return nil
	}
	disk, err := diskOf(condition.File)
	if err != nil {
		return nil
	}
	switch int64(disk.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return []finding{warning("keep it on a local disk, or use PostgreSQL", "%s is on a network file system, where SQLite may lose what it wrote", condition.File)}
	}
	return nil
}

func (d *doctor) checkSecrets() []finding {
	secrets := d.config.Secrets
	where := "secrets.key"
	if secrets.Key.Reveal() == "" {
		where = secrets.KeyFile
	}
	keys, err := d.keys()
	missing := errors.Is(err, fs.ErrNotExist) && secrets.MakeKey
	if err != nil && !missing {
		return []finding{wrong("write 32 random bytes in base64 there: openssl rand -base64 32; or put the key back that was there", "%v", err)}
	}
	condition, err := d.database()
	var found []finding
	switch {
	case err != nil:
		found = append(found, unchecked("whether the key opens what is sealed: the database does not answer"))
	case condition.Unopened > 0 && missing:
		found = append(found, wrong("put back the key file of the database", "%s is not there, and %d requests have secrets that it has sealed", where, condition.Sealed))
	case condition.Unopened > 0:
		found = append(found, wrong("write the key that they were sealed with into secrets.previous_keys; without it these requests fail",
			"%s: the secrets of %d of %d requests that have some do not open with it", where, condition.Unopened, condition.Sealed))
	case missing:
		found = append(found, okay("%s will be made at the first start", where))
	case condition.Sealed > 0:
		found = append(found, okay("%s: it opens the secrets of all %d requests that have some", where, condition.Sealed))
	default:
		found = append(found, okay("%s: %d keys; no request has secrets at present", where, len(keys)))
	}
	if info, err := os.Stat(secrets.KeyFile); secrets.KeyFile != "" && err == nil && info.Mode().Perm()&0o077 != 0 {
		found = append(found, warning("chmod 600 "+secrets.KeyFile, "others than its owner can use the file %s", secrets.KeyFile))
	}
	return found
}

func (d *doctor) checkIdentity() []finding {
	if _, err := newIdentity(d.config, func(error) {}); err != nil {
		return []finding{wrong("correct the file that the identity block names", "%v", err)}
	}
	var ways []string
	id := d.config.Identity
	for _, method := range []struct {
		name string
		used bool
	}{{"header", id.Header != nil}, {"kerberos", id.Kerberos != nil}, {"tokens", id.Tokens != nil}, {"oidc", id.OIDC != nil}} {
		if method.used {
			ways = append(ways, method.name)
		}
	}
	if len(ways) == 0 {
		return []finding{okay("nobody has to log in")}
	}
	return []finding{okay("callers are recognized by %s", strings.Join(ways, ", "))}
}

func (d *doctor) checkListen() []finding {
	found := []finding{d.checkAPI()}
	for _, p := range d.config.PluginsOf("service") {
		for _, own := range p.Listeners {
			if own.Network == "unix" {
				found = append(found, d.judgeListener(p, own, listenableSocket(own.Address)))
				continue
			}
			found = append(found, d.judgeListener(p, own, listenable(own.Address)))
		}
	}
	if tls := d.config.Server.TLS; tls != nil {
		found = append(found, checkCertificate(tls))
	}
	return found
}

func (d *doctor) checkAPI() finding {
	address := d.config.Server.Listen
	err := listenable(address)
	if err == nil {
		return okay("%s is free", address)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return wrong("correct server.listen, or IIB_LISTEN where that is set", "%v", err)
	}
	switch answer := d.engine(); {
	case answer.parts == nil:
		return wrong("end it (ss -ltnp shows it), or write another address into server.listen", "%s is taken: %s", address, answer.stranger)
	case answer.ailing() != "":
		return wrong("see the table in docs/operations.md", "an engine runs at %s and is not ready: %s", address, answer.ailing())
	}
	return okay("%s is taken by an engine that is ready", address)
}

// judgeListener judges an address of a service's own. A running engine has it.
func (d *doctor) judgeListener(p *config.Plugin, own config.Listener, err error) finding {
	switch {
	case err == nil:
		return okay("%s of plugin %s is free", own.Address, p.Name)
	case errors.Is(err, syscall.EADDRINUSE) && d.engine().parts != nil:
		return okay("%s of plugin %s is taken, while an engine runs", own.Address, p.Name)
	}
	return wrong("end what listens there, or write another address into the listen block", "%s of plugin %s: %v", own.Address, p.Name, err)
}

// listenable tries an address for a moment.
func listenable(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

// listenableSocket tells whether a socket can be made, without making one.
func listenableSocket(path string) error {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("the directory of %s: %w", path, err)
	}
	return nil
}

// soon is when a certificate that ends is worth a warning.
const soon = 14 * 24 * time.Hour

func checkCertificate(files *config.TLS) finding {
	pair, err := (&keyPair{files: *files}).current(nil)
	if err != nil {
		return wrong("put a certificate and its key into the files of server.tls", "%v", err)
	}
	ends := pair.Leaf.NotAfter
	date := ends.Format(time.DateOnly)
	switch left := time.Until(ends); {
	case left <= 0:
		return wrong("replace it; no restart is needed", "the certificate %s has ended on %s", files.CertFile, date)
	case left < soon:
		return warning("replace it; no restart is needed", "the certificate %s ends on %s", files.CertFile, date)
	}
	return okay("the certificate %s ends on %s", files.CertFile, date)
}
