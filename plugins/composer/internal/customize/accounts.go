package customize

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/tree"
)

// database is the accounts of an image.
type database struct {
	a                              *Applier
	passwd, group, shadow, gshadow *table
	// wanted are numbers that the blueprint gives out, which nobody else gets.
	wanted map[int64]bool
}

var names = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]{0,31}$`)

// largest is the last number that is one: the next means "none".
const largest = 1<<32 - 2

func (a *Applier) accounts(b *Blueprint) error {
	d := &database{a: a, wanted: make(map[int64]bool)}
	for _, t := range []struct {
		into  **table
		file  string
		width int
	}{{&d.passwd, "/etc/passwd", 7}, {&d.group, "/etc/group", 4}, {&d.shadow, "/etc/shadow", 9}, {&d.gshadow, "/etc/gshadow", 4}} {
		var err error
		if *t.into, err = a.readTable(t.file, t.width); err != nil {
			return err
		}
	}
	if !d.passwd.there && len(b.Users) == 0 && len(b.Groups) == 0 && len(b.SSHKeys) == 0 {
		// An image without accounts is not ours to have opinions on.
		return nil
	}
	d.base()
	if err := d.judge(b); err != nil {
		return err
	}
	for _, g := range b.Groups {
		if slices.ContainsFunc(b.Users, func(u User) bool { return u.Name == g.Name }) {
			continue // the user brings it
		}
		if err := d.addGroup(g); err != nil {
			return err
		}
	}
	rootPassword := false
	for _, u := range b.Users {
		if u.Name == "root" {
			rootPassword = rootPassword || u.Password != nil && *u.Password != ""
			d.setPassword(u)
			continue
		}
		if err := d.addUser(u); err != nil {
			return err
		}
	}
	for _, u := range b.Users {
		if err := d.join(u); err != nil {
			return err
		}
	}
	if !rootPassword {
		d.lockRoot()
	}
	if err := d.write(); err != nil {
		return err
	}
	for _, u := range b.Users {
		if u.Name != "root" {
			if err := d.makeHome(u.Name); err != nil {
				return err
			}
		}
	}
	return d.keys(b)
}

// base makes sure of root.
func (d *database) base() {
	if d.passwd.find("root") == nil {
		d.passwd.rows = slices.Insert(d.passwd.rows, 0, []string{"root", "x", "0", "0", "root", "/root", "/bin/bash"})
	}
	if d.group.find("root") == nil {
		d.group.rows = slices.Insert(d.group.rows, 0, []string{"root", "x", "0", ""})
	}
	if d.shadow.find("root") == nil {
		d.shadow.rows = slices.Insert(d.shadow.rows, 0, d.shadowRow("root", "*"))
	}
}

func (d *database) shadowRow(name, password string) []string {
	day := strconv.FormatInt(d.a.Epoch.Unix()/86400, 10)
	return []string{name, password, day, "0", "99999", "7", "", "", ""}
}

// judge refuses values that would be more than a value in their file, before
// anything is written.
func (d *database) judge(b *Blueprint) error {
	for _, g := range b.Groups {
		if !names.MatchString(g.Name) {
			return refuse("group", "%q is not a name for a group", g.Name)
		}
		if err := d.number("group", g.Name, "gid", g.GID); err != nil {
			return err
		}
	}
	seen := make(map[string]bool)
	for _, u := range b.Users {
		if !names.MatchString(u.Name) {
			return refuse("user", "%q is not a name for a user", u.Name)
		}
		if seen[u.Name] {
			return refuse("user", "%s is there twice", u.Name)
		}
		seen[u.Name] = true
		for _, f := range []struct{ field, value string }{
			{"description", text(u.Description)}, {"password", text(u.Password)}, {"home", u.Home}, {"shell", u.Shell},
		} {
			plain := f.field == "password" && !hashed(f.value)
			if !plain && (!printable(f.value) || strings.Contains(f.value, ":")) {
				// Not the value: it may be a password.
				return refuse("user", "%s of %s has a colon or a control character", f.field, u.Name)
			}
			if plain && strings.ContainsRune(f.value, 0) {
				return refuse("user", "password of %s has a zero byte", u.Name)
			}
		}
		for _, f := range []struct{ field, value string }{{"home", u.Home}, {"shell", u.Shell}} {
			if f.value != "" && (!strings.HasPrefix(f.value, "/") || path.Clean(f.value) != strings.TrimRight(f.value, "/") || f.value == "/") {
				return refuse("user", "%s %q of %s is not a plain absolute path", f.field, f.value, u.Name)
			}
		}
		if err := d.number("user", u.Name, "uid", u.UID); err != nil {
			return err
		}
		if err := d.number("user", u.Name, "gid", u.GID); err != nil {
			return err
		}
	}
	return nil
}

func (d *database) number(key, name, field string, n *int64) error {
	if n == nil {
		return nil
	}
	if *n < 0 || *n > largest {
		return refuse(key, "%s %d of %s is not a number from 0 to %d", field, *n, name, int64(largest))
	}
	d.wanted[*n] = true
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// free returns a number for something new: n if it is free, else the first from
// 1000 on.
func (d *database) free(t *table, n int64) int64 {
	if n >= 0 && t.byNumber(n) == nil && !d.wanted[n] {
		return n
	}
	for n = 1000; t.byNumber(n) != nil || d.wanted[n]; n++ {
	}
	return n
}

func (d *database) addGroup(g Group) error {
	if row := d.group.find(g.Name); row != nil {
		if g.GID != nil && row[2] != strconv.FormatInt(*g.GID, 10) {
			return refuse("group", "the packages make %s with gid %s, not %d", g.Name, row[2], *g.GID)
		}
		return nil
	}
	gid := int64(0)
	if g.GID != nil {
		gid = *g.GID
		if row := d.group.byNumber(gid); row != nil {
			return refuse("group", "gid %d of %s is that of %s", gid, g.Name, row[0])
		}
	} else {
		gid = d.free(d.group, -1)
	}
	d.newGroup(g.Name, gid)
	return nil
}

func (d *database) newGroup(name string, gid int64) {
	d.group.add(name, "x", strconv.FormatInt(gid, 10), "")
	if d.gshadow.there {
		d.gshadow.add(name, "!", "", "")
	}
}

func (d *database) addUser(u User) error {
	row := d.passwd.find(u.Name)
	if row == nil {
		uid := int64(0)
		if u.UID != nil {
			uid = *u.UID
			if other := d.passwd.byNumber(uid); other != nil {
				return refuse("user", "uid %d of %s is that of %s", uid, u.Name, other[0])
			}
		} else {
			uid = d.free(d.passwd, -1)
		}
		gid := d.ownGroup(u, uid)
		row = d.passwd.add(u.Name, "x", strconv.FormatInt(uid, 10), strconv.FormatInt(gid, 10), "", "/home/"+u.Name, d.shell())
	} else {
		// From a package. What the blueprint says of it is changed.
		if u.UID != nil && row[2] != strconv.FormatInt(*u.UID, 10) {
			return refuse("user", "the packages make %s with uid %s, not %d", u.Name, row[2], *u.UID)
		}
		if u.GID != nil {
			row[3] = strconv.FormatInt(*u.GID, 10)
			if d.group.byNumber(*u.GID) == nil {
				return refuse("user", "gid %d of %s is that of no group", *u.GID, u.Name)
			}
		}
	}
	if u.Description != nil {
		row[4] = *u.Description
	}
	if u.Home != "" {
		row[5] = path.Clean(u.Home)
	}
	if u.Shell != "" {
		row[6] = u.Shell
		if !d.a.Root.Exists(u.Shell) {
			d.a.Warn("customizations.user: the shell %s of %s is not in the image", u.Shell, u.Name)
		}
	}
	d.setPassword(u)
	return nil
}

// shell is a new user's: the first of the usual ones that the image has.
func (d *database) shell() string {
	for _, s := range []string{"/bin/bash", "/bin/sh"} {
		if d.a.Root.Exists(s) {
			return s
		}
	}
	return "/bin/bash"
}

// ownGroup returns a new user's group.
func (d *database) ownGroup(u User, uid int64) int64 {
	if u.GID != nil {
		if d.group.byNumber(*u.GID) == nil {
			d.newGroup(u.Name, *u.GID)
		}
		return *u.GID
	}
	if row := d.group.find(u.Name); row != nil {
		if gid, err := strconv.ParseInt(row[2], 10, 64); err == nil {
			return gid
		}
	}
	// The same number, where nobody wants it for something else.
	gid := uid
	if d.group.byNumber(gid) != nil || (d.wanted[gid] && (u.UID == nil || *u.UID != gid)) {
		gid = d.free(d.group, -1)
	}
	d.newGroup(u.Name, gid)
	return gid
}

func (d *database) setPassword(u User) {
	password := text(u.Password)
	switch {
	case password == "":
		password = "!!"
	case !hashed(password):
		password = crypt(password)
	}
	row := d.shadow.find(u.Name)
	if row == nil {
		row = d.shadow.add(d.shadowRow(u.Name, password)...)
	} else if text(u.Password) != "" {
		row[1] = password
	}
	if text(u.Password) != "" {
		row[2] = d.shadowRow("", "")[2]
		if p := d.passwd.find(u.Name); p != nil {
			p[1] = "x"
		}
	}
}

func (d *database) lockRoot() {
	row := d.shadow.find("root")
	if !strings.HasPrefix(row[1], "!") && !strings.HasPrefix(row[1], "*") {
		row[1] = "!" + row[1]
	}
	d.passwd.find("root")[1] = "x"
}

// join makes a user a member of further groups.
func (d *database) join(u User) error {
	if u.Name == "root" {
		return nil
	}
	for _, name := range u.Groups {
		row := d.group.find(name)
		if row == nil {
			return refuse("user", "%s cannot be in group %q: neither the packages nor the blueprint make that", u.Name, name)
		}
		for _, t := range []*table{d.group, d.gshadow} {
			if row := t.find(name); row != nil && !slices.Contains(strings.Split(row[3], ","), u.Name) {
				row[3] = strings.TrimLeft(row[3]+","+u.Name, ",")
			}
		}
	}
	return nil
}

func (d *database) write() error {
	for _, t := range []struct {
		*table
		mode fs.FileMode
	}{{d.passwd, 0o644}, {d.group, 0o644}, {d.shadow, 0o000}, {d.gshadow, 0o000}} {
		if t.table == d.gshadow && !t.there {
			continue
		}
		if err := d.a.Root.WriteFile(t.file, []byte(t.String()), tree.Owner{Mode: t.mode}); err != nil {
			return err
		}
	}
	return nil
}
