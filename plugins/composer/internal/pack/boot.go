package pack

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/tree"
)

// kernel is one that the tree has.
type kernel struct {
	version string
	image   string // its path
	initrd  string // the path of its initial file system, or empty
}

// kernels are those of the tree, the newest first.
func (in *Input) kernels() []kernel {
	var found []kernel
	if entries, err := in.Root.ReadDir("/boot"); err == nil {
		for _, e := range entries {
			for _, prefix := range []string{"vmlinuz-", "vmlinux-", "Image-"} {
				version, ok := strings.CutPrefix(e.Name(), prefix)
				if ok && !strings.Contains(version, "rescue") {
					found = append(found, kernel{version: version, image: "/boot/" + e.Name()})
				}
			}
		}
	}
	if entries, err := in.Root.ReadDir("/usr/lib/modules"); err == nil {
		for _, e := range entries {
			image := "/usr/lib/modules/" + e.Name() + "/vmlinuz"
			if in.Root.Exists(image) && !slices.ContainsFunc(found, func(k kernel) bool { return k.version == e.Name() }) {
				found = append(found, kernel{version: e.Name(), image: image})
			}
		}
	}
	for i, k := range found {
		for _, name := range []string{"/boot/initramfs-" + k.version + ".img", "/boot/initrd.img-" + k.version, "/boot/initrd-" + k.version} {
			if in.Root.Exists(name) {
				found[i].initrd = name
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b kernel) int { return compareVersions(b.version, a.version) })
	return found
}

// compareVersions compares runs of digits as numbers.
func compareVersions(a, b string) int {
	digits := func(s string) string { return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))] }
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x != "" && y != "" {
			a, b = a[len(x):], b[len(y):]
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			continue
		}
		if c := cmp.Compare(a[0], b[0]); c != 0 {
			return c
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// prepare writes into the tree what the image needs to start, and says what it
// lacks for that.
func (in *Input) prepare(t Type) error {
	if !t.Disk && !t.Bootable || t.Name == "ext4-filesystem" {
		return nil
	}
	kernels := in.kernels()
	if len(kernels) == 0 {
		in.Warn("the packages include no kernel: there is nothing in the %s image that could be booted", t.Name)
	}
	if !t.Disk {
		if in.Append != "" && t.Name == "liveimg-tar" {
			in.Warn("kernel.append has no effect on a tar: whoever installs it makes the boot configuration")
		}
		return nil
	}
	root := "UUID=" + in.uuid("root")
	if err := in.mountRoot(root); err != nil {
		return err
	}
	if len(kernels) == 0 {
		return nil
	}
	line := strings.TrimSpace("root=" + root + " ro " + in.Append)
	if err := in.bootConfiguration(kernels, line); err != nil {
		return err
	}
	if ok, why := in.loader(); !ok {
		in.Warn("no bootloader was installed: %s; the %s image has a kernel and its boot configuration (/boot/loader/entries, "+
			"/boot/extlinux/extlinux.conf), to be started by a hypervisor or a firmware that reads these", why, t.Name)
		return nil
	}
	in.bootable = true
	if err := in.Root.WriteFile(grubConfig, []byte(in.grubMenu(kernels, line)), plain); err != nil {
		return err
	}
	return in.clampOne(grubConfig)
}

var plain = tree.Owner{Mode: 0o644}

// mountRoot names the root file system in fstab, unless a package does.
func (in *Input) mountRoot(root string) error {
	old, _ := in.Root.ReadFile("/etc/fstab")
	for line := range strings.Lines(string(old)) {
		if fields := strings.Fields(line); len(fields) > 1 && !strings.HasPrefix(fields[0], "#") && fields[1] == "/" {
			return nil
		}
	}
	text := string(old)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err := in.Root.WriteFile("/etc/fstab", []byte(text+root+" / ext4 defaults 1 1\n"), plain); err != nil {
		return err
	}
	return in.clampOne("/etc/fstab")
}

// bootConfiguration writes what loaders read: an entry of the boot loader
// specification and one for extlinux (and firmware that takes its file), for
// each kernel; and the line that later kernels get.
func (in *Input) bootConfiguration(kernels []kernel, line string) error {
	files := map[string]string{"/etc/kernel/cmdline": line + "\n"}
	id := strings.ReplaceAll(in.uuid("entry"), "-", "")
	var extlinux strings.Builder
	fmt.Fprintf(&extlinux, "default %s\ntimeout 30\n", kernels[0].version)
	for _, k := range kernels {
		var entry strings.Builder
		fmt.Fprintf(&entry, "title %s (%s)\nversion %s\nlinux %s\n", in.name(), k.version, k.version, k.image)
		fmt.Fprintf(&extlinux, "label %s\n  kernel %s\n", k.version, k.image)
		if k.initrd != "" {
			fmt.Fprintf(&entry, "initrd %s\n", k.initrd)
			fmt.Fprintf(&extlinux, "  initrd %s\n", k.initrd)
		}
		fmt.Fprintf(&entry, "options %s\n", line)
		fmt.Fprintf(&extlinux, "  append %s\n", line)
		files["/boot/loader/entries/"+id+"-"+path.Base(k.version)+".conf"] = entry.String()
	}
	files["/boot/extlinux/extlinux.conf"] = extlinux.String()
	for name, content := range files {
		if err := in.Root.WriteFile(name, []byte(content), plain); err != nil {
			return err
		}
		if err := in.clampOne(name); err != nil {
			return err
		}
	}
	return nil
}

// name is what people call the system.
func (in *Input) name() string {
	if content, err := in.Root.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(content)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return in.Title
}

// clampOne gives a file that was written late, and what leads to it, the
// image's time.
func (in *Input) clampOne(name string) error { return in.Root.Touch(name, in.Epoch) }
