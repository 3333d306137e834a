package customize

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// of returns whom a user's files belong to, and the user's home.
func (d *database) of(name string) (uid, gid int, home string, err error) {
	row := d.passwd.find(name)
	u, err1 := strconv.ParseUint(row[2], 10, 32)
	g, err2 := strconv.ParseUint(row[3], 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, "", sdk.Errorf(sdk.Invalid, "customizations.user: the numbers of %s in /etc/passwd: %v", name, err)
	}
	home = row[5]
	if name == "root" {
		home = "/root"
	}
	return int(u), int(g), home, nil
}

// makeHome makes a home as it is given out, unless there is one already.
func (d *database) makeHome(name string) error {
	uid, gid, home, err := d.of(name)
	if err != nil || d.a.Root.Exists(home) {
		return err
	}
	if err := d.a.Root.Mkdir(home, tree.Owner{UID: uid, GID: gid, Mode: 0o700}); err != nil {
		return err
	}
	return d.copySkeleton("", home, uid, gid)
}

const skeleton = "/etc/skel"

func (d *database) copySkeleton(dir, home string, uid, gid int) error {
	entries, err := d.a.Root.ReadDir(filepath.Join(skeleton, dir))
	if err != nil {
		return nil // none
	}
	for _, e := range entries {
		from, to := filepath.Join(skeleton, dir, e.Name()), filepath.Join(home, dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			if err := d.a.Root.Mkdir(to, tree.Owner{UID: uid, GID: gid, Mode: info.Mode().Perm()}); err != nil {
				return err
			}
			err = d.copySkeleton(filepath.Join(dir, e.Name()), home, uid, gid)
		case info.Mode().IsRegular():
			var content []byte
			if content, err = d.a.Root.ReadFile(from); err == nil {
				err = d.a.Root.WriteFile(to, content, tree.Owner{UID: uid, GID: gid, Mode: info.Mode().Perm()})
			}
		case info.Mode()&os.ModeSymlink != 0:
			var target string
			if target, err = d.a.Root.Readlink(from); err == nil {
				err = d.a.Root.Link(target, to)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keys writes the keys that may log in.
func (d *database) keys(b *Blueprint) error {
	wanted := make(map[string][]string)
	var order []string
	note := func(where, user, key string) error {
		if strings.TrimSpace(key) == "" {
			return nil
		}
		if d.passwd.find(user) == nil {
			return refuse(where, "there is no user %q in the image to give a key to", user)
		}
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); line != "" {
				if !printable(line) {
					return refuse(where, "the key of %s has control characters", user)
				}
				if !slices.Contains(wanted[user], line) {
					wanted[user] = append(wanted[user], line)
				}
			}
		}
		if !slices.Contains(order, user) {
			order = append(order, user)
		}
		return nil
	}
	for _, u := range b.Users {
		if err := note("user", u.Name, u.Key); err != nil {
			return err
		}
	}
	for _, k := range b.SSHKeys {
		if err := note("sshkey", k.User, k.Key); err != nil {
			return err
		}
	}
	for _, user := range order {
		uid, gid, home, err := d.of(user)
		if err != nil {
			return err
		}
		if home == "" || home == "/" || !strings.HasPrefix(home, "/") {
			return refuse("sshkey", "%s has no home to put a key in, but %q", user, home)
		}
		if err := d.a.Root.Mkdir(home, tree.Owner{UID: uid, GID: gid, Mode: 0o700}); err != nil {
			return err
		}
		dir := home + "/.ssh"
		if err := d.a.Root.Mkdir(dir, tree.Owner{UID: uid, GID: gid, Mode: 0o700}); err != nil {
			return err
		}
		file := dir + "/authorized_keys"
		old, err := d.a.Root.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		content := string(old)
		if content != "" && !strings.HasSuffix(content, "\n") {
			content += "\n"
		}
		for _, key := range wanted[user] {
			content += key + "\n"
		}
		o := tree.Owner{UID: uid, GID: gid, Mode: 0o600}
		if err := d.a.Root.WriteFile(file, []byte(content), o); err != nil {
			return err
		}
		if err := d.a.Root.Chown(file, o); err != nil {
			return err
		}
		o.Mode = 0o700
		if err := d.a.Root.Chown(dir, o); err != nil {
			return err
		}
	}
	return nil
}
