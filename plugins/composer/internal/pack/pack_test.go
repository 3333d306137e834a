package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/rpmtest"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// sample makes a tree with everything that is hard to pack.
func sample(t *testing.T, withKernel bool) *tree.Root {
	t.Helper()
	real.Root(t)
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode, uid, gid int) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600), os.Chown(at, uid, gid), os.Chmod(at, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/hostname", "packed\n", 0o644, 0, 0)
	write("etc/shadow", "root:*:1::::::\n", 0, 0, 0)
	write("usr/bin/su", "su", 0o755|os.ModeSetuid, 0, 0)
	write("home/ann/file", "ann's", 0o640, 1000, 1001)
	write("usr/share/"+strings.Repeat("long", 60)+"/ünïcode", "x", 0o644, 0, 0)
	if err := errors.Join(
		os.Link(dir+"/usr/bin/su", dir+"/usr/bin/sudo"), os.Symlink("usr/bin", dir+"/bin"), os.Mkdir(dir+"/tmp", 0o777),
		os.Chmod(dir+"/tmp", 0o777|os.ModeSticky), os.Chmod(dir, 0o755),
	); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/bin/python3", "-I", "-c", "import os,sys; os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))", dir+"/home/ann/file").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if withKernel {
		write("boot/vmlinuz-6.9.1", "old kernel", 0o644, 0, 0)
		write("boot/vmlinuz-6.10.0", "kernel", 0o644, 0, 0)
		write("boot/initramfs-6.10.0.img", "initramfs", 0o644, 0, 0)
	}
	root, err := tree.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if err := root.Clamp(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	return root
}

var epoch = time.Unix(rpmtest.Built, 0)

type log struct{ lines, warnings []string }

func input(t *testing.T, kind string, root *tree.Root) (*Input, *log) {
	t.Helper()
	l := &log{}
	typ, ok := Find(kind, "x86_64")
	if !ok {
		t.Fatalf("there is no type %s", kind)
	}
	real.Need(t, needs(kind)...)
	if !typ.Enabled {
		t.Fatalf("%s is not enabled: %s", kind, typ.Why)
	}
	return &Input{
		Kind: kind, Root: root, Epoch: epoch, Work: t.TempDir(), Out: filepath.Join(t.TempDir(), typ.ImageName), Title: "packed", Seed: "seed", Arch: "x86_64",
		Log:  func(format string, args ...any) { l.lines = append(l.lines, fmt.Sprintf(format, args...)) },
		Warn: func(format string, args ...any) { l.warnings = append(l.warnings, fmt.Sprintf(format, args...)) },
	}, l
}

func needs(name string) []string {
	for _, k := range kinds() {
		if k.Name == name {
			return append(slices.Clone(k.programs), "python3")
		}
	}
	return nil
}

func pack(t *testing.T, in *Input, l *log) *Result {
	t.Helper()
	r, err := Pack(t.Context(), in)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(l.lines, "\n"))
	}
	return r
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	real.Need(t, program)
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkTar checks a tar of the sample.
func checkTar(t *testing.T, r io.Reader) {
	t.Helper()
	found := make(map[string]*tar.Header)
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = h
		if h.ModTime.After(epoch) || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: time %v, %s:%s", h.Name, h.ModTime, h.Uname, h.Gname)
		}
	}
	ann := found["home/ann/file"]
	if ann == nil || ann.Uid != 1000 || ann.Gid != 1001 || ann.Mode != 0o640 || len(ann.PAXRecords["SCHILY.xattr.security.capability"]) != 20 {
		t.Errorf("home/ann/file: %+v", ann)
	}
	if su := found["usr/bin/su"]; su == nil || su.Mode != 0o4755 {
		t.Errorf("usr/bin/su: %+v", su)
	}
	if sudo := found["usr/bin/sudo"]; sudo == nil || sudo.Typeflag != tar.TypeLink || sudo.Linkname != "usr/bin/su" {
		t.Errorf("usr/bin/sudo: %+v", sudo)
	}
	if bin := found["bin"]; bin == nil || bin.Linkname != "usr/bin" {
		t.Errorf("bin: %+v", bin)
	}
	if tmp := found["tmp/"]; tmp == nil || tmp.Mode != 0o1777 {
		t.Errorf("tmp: %+v", tmp)
	}
	if found["usr/share/"+strings.Repeat("long", 60)+"/ünïcode"] == nil {
		t.Error("the file with the long name is missing")
	}
}

func TestTar(t *testing.T) {
	t.Parallel()
	root := sample(t, false)
	in, l := input(t, "tar", root)
	pack(t, in, l)
	checkTar(t, strings.NewReader(run(t, "xz", "-dc", in.Out)))
	again, l := input(t, "liveimg-tar", root)
	pack(t, again, l)
	one, err1 := os.ReadFile(in.Out)
	two, err2 := os.ReadFile(again.Out)
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
		t.Errorf("two tars of one tree differ (%v)", err)
	}
	if len(l.warnings) != 1 || !strings.Contains(l.warnings[0], "no kernel") {
		t.Errorf("warnings: %q", l.warnings)
	}
}

// The library writes what the program reads.
func TestXZWithoutTheProgram(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.xz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("some text that is long enough\n", 100000)
	if err := errors.Join(slowXZ(f, strings.NewReader(want)), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "xz", "-dc", file); got != want {
		t.Errorf("%d bytes have become %d", len(want), len(got))
	}
}

func TestOCI(t *testing.T) {
	t.Parallel()
	root := sample(t, false)
	in, l := input(t, "oci", root)
	r := pack(t, in, l)
	var inspected struct {
		Architecture, Os string
		Created          time.Time
		Layers           []string
	}
	if err := json.Unmarshal([]byte(run(t, "skopeo", "inspect", "oci-archive:"+in.Out)), &inspected); err != nil {
		t.Fatal(err)
	}
	if inspected.Architecture != "amd64" || inspected.Os != "linux" || !inspected.Created.Equal(epoch) || !slices.Equal(inspected.Layers, []string{r.Layer.Digest}) {
		t.Errorf("inspected: %+v", inspected)
	}
	f, err := os.Open(r.Layer.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(z)
	if err != nil || digest(content) != r.Layer.DiffID {
		t.Errorf("the layer's content is %s (%v), not %s", digest(content), err, r.Layer.DiffID)
	}
	checkTar(t, bytes.NewReader(content))
	// Another program takes all of it, with its checksums.
	run(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+in.Out, "dir:"+t.TempDir())
	again, l := input(t, "oci", root)
	pack(t, again, l)
	one, err1 := os.ReadFile(in.Out)
	two, err2 := os.ReadFile(again.Out)
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
		t.Errorf("two archives of one tree differ (%v)", err)
	}
}

// checkExt4 checks a file system with the sample.
func checkExt4(t *testing.T, file string) {
	t.Helper()
	run(t, "fsck.ext4", "-f", "-n", file)
	for path, want := range map[string][]string{
		"/home/ann/file": {"Mode:  0640", "User:  1000", "Group:  1001", "Size: 5", "security.capability"},
		"/usr/bin/su":    {"Mode:  04755", "Links: 2"},
		"/bin":           {`Fast link dest: "usr/bin"`},
		"/tmp":           {"Mode:  01777"},
	} {
		got := run(t, "debugfs", "-R", "stat "+path, file)
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %q:\n%s", path, part, got)
			}
		}
	}
	if got := run(t, "debugfs", "-R", "cat /etc/hostname", file); !strings.Contains(got, "packed\n") {
		t.Errorf("/etc/hostname: %s", got)
	}
}

func TestFilesystem(t *testing.T) {
	t.Parallel()
	in, l := input(t, "ext4-filesystem", sample(t, false))
	in.Size = 200*mib + 1
	pack(t, in, l)
	checkExt4(t, in.Out)
	if info, err := os.Stat(in.Out); err != nil || info.Size() != 201*mib {
		t.Errorf("size %d, %v", info.Size(), err)
	}
	if len(l.warnings) > 0 {
		t.Errorf("warnings: %q", l.warnings)
	}
}

// checkDisk checks a raw disk with the sample.
func checkDisk(t *testing.T, file string, least int64) {
	t.Helper()
	var table struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Start, Size int64
				Type        string
				Bootable    bool
			}
		}
	}
	if err := json.Unmarshal([]byte(run(t, "sfdisk", "--json", file)), &table); err != nil {
		t.Fatal(err)
	}
	p := table.PartitionTable.Partitions
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(p) != 1 || p[0].Start != 2048 || p[0].Type != "83" || !p[0].Bootable || (p[0].Start+p[0].Size)*512 != info.Size() || info.Size() < least {
		t.Fatalf("size %d, table %+v", info.Size(), table)
	}
	part := filepath.Join(t.TempDir(), "part.img")
	run(t, "dd", "if="+file, "of="+part, "bs=1M", "skip=1", "conv=sparse", "status=none")
	checkExt4(t, part)
	if got := run(t, "debugfs", "-R", "cat /etc/fstab", part); !strings.Contains(got, " / ext4 ") {
		t.Errorf("/etc/fstab: %s", got)
	}
}

func TestDisks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, format string
		checks       bool // whether qemu-img can check the format
	}{
		{"partitioned-disk", "raw", false}, {"ami", "raw", false}, {"qcow2", "qcow2", true}, {"openstack", "qcow2", true}, {"alibaba", "qcow2", true},
		{"vhd", "vpc", false}, {"vmdk", "vmdk", true}, {"hyper-v", "vhdx", true},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			in, l := input(t, c.kind, sample(t, false))
			const size = 96 * mib
			in.Size = size
			pack(t, in, l)
			if len(l.warnings) != 1 || !strings.Contains(l.warnings[0], "no kernel") {
				t.Errorf("warnings: %q", l.warnings)
			}
			if left, err := os.ReadDir(in.Work); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			disk := in.Out
			if c.format != "raw" {
				if info := run(t, "qemu-img", "info", "-f", c.format, in.Out); !strings.Contains(info, "file format: "+c.format) || !strings.Contains(info, "96 MiB") {
					t.Errorf("info:\n%s", info)
				}
				if c.checks {
					run(t, "qemu-img", "check", "-f", c.format, in.Out)
				}
				disk = filepath.Join(t.TempDir(), "disk.raw")
				run(t, "qemu-img", "convert", "-f", c.format, "-O", "raw", in.Out, disk)
			}
			checkDisk(t, disk, size)
		})
	}
}

func TestGoogle(t *testing.T) {
	t.Parallel()
	in, l := input(t, "google", sample(t, false))
	pack(t, in, l)
	f, err := os.Open(in.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(z)
	h, err := archive.Next()
	if err != nil || h.Name != "disk.raw" || h.Size != gib {
		t.Fatalf("%+v, %v", h, err)
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	out, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	// What the file system uses lies at its beginning, as far as the sample goes.
	if _, err := io.CopyN(out, archive, h.Size); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after the disk: %v", err)
	}
	checkDisk(t, disk, gib)
}

func TestLiveISO(t *testing.T) {
	t.Parallel()
	in, l := input(t, "live-iso", sample(t, true))
	in.Append = "quiet console=ttyS0"
	pack(t, in, l)
	dir := t.TempDir()
	report := run(t, "xorriso", "-indev", in.Out, "-toc", "-osirrox", "on", "-extract", "/", dir+"/iso")
	if !strings.Contains(report, "'packed'") {
		t.Errorf("the volume's name:\n%s", report)
	}
	squash := dir + "/iso/LiveOS/squashfs.img"
	listing := run(t, "unsquashfs", "-lln", squash)
	for _, want := range []string{"-rw-r----- 1000/1001", "squashfs-root/home/ann/file", "-rwsr-xr-x 0/0", "squashfs-root/bin -> usr/bin", "drwxrwxrwt"} {
		if !strings.Contains(listing, want) {
			t.Errorf("the file system lacks %q:\n%s", want, listing)
		}
	}
	config, err := os.ReadFile(dir + "/iso/isolinux/isolinux.cfg")
	if err != nil || !strings.Contains(string(config), "root=live:CDLABEL=packed rd.live.image quiet console=ttyS0\n") {
		t.Errorf("configuration: %s, %v", config, err)
	}
	for name, want := range map[string]string{"vmlinuz": "kernel", "initrd.img": "initramfs"} {
		if got, err := os.ReadFile(dir + "/iso/images/pxeboot/" + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	bare, l := input(t, "live-iso", sample(t, false))
	pack(t, bare, l)
	run(t, "xorriso", "-indev", bare.Out, "-toc")
	if len(l.warnings) != 1 || !strings.Contains(l.warnings[0], "no kernel") {
		t.Errorf("warnings: %q", l.warnings)
	}
}

func TestBootConfiguration(t *testing.T) {
	t.Parallel()
	root := sample(t, true)
	in, l := input(t, "partitioned-disk", root)
	in.Append = "quiet"
	pack(t, in, l)
	if ok, _ := in.loader(); ok == (len(l.warnings) == 1 && strings.Contains(l.warnings[0], "no bootloader")) || ok != root.Exists(grubConfig) {
		t.Errorf("with a loader: %v; warnings: %q", ok, l.warnings)
	}
	line := "root=UUID=" + in.uuid("root") + " ro quiet\n"
	got, err := root.ReadFile("/boot/extlinux/extlinux.conf")
	want := "default 6.10.0\ntimeout 30\nlabel 6.10.0\n  kernel /boot/vmlinuz-6.10.0\n  initrd /boot/initramfs-6.10.0.img\n  append " + line +
		"label 6.9.1\n  kernel /boot/vmlinuz-6.9.1\n  append " + line
	if err != nil || string(got) != want {
		t.Errorf("got\n%s(%v), want\n%s", got, err, want)
	}
	entries, err := root.ReadDir("/boot/loader/entries")
	if err != nil || len(entries) != 2 {
		t.Fatalf("entries: %v, %v", entries, err)
	}
	entry, err := root.ReadFile("/boot/loader/entries/" + entries[0].Name())
	if err != nil || !strings.Contains(string(entry), "options "+line) || !strings.Contains(string(entry), "initrd /boot/initramfs-6.10.0.img\n") {
		t.Errorf("%s: %s, %v", entries[0].Name(), entry, err)
	}
	// An ext4 file system is no disk: nothing is written into its tree.
	other := sample(t, true)
	in, l = input(t, "ext4-filesystem", other)
	pack(t, in, l)
	if other.Exists("/etc/fstab") || other.Exists("/boot/loader") {
		t.Error("the tree of a file system has a boot configuration")
	}
}

func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	disk := real.Disk(t, 4<<20)
	for _, kind := range []string{"tar", "oci", "qcow2", "ext4-filesystem", "live-iso"} {
		dir := filepath.Join(disk, kind)
		if e := os.MkdirAll(dir, 0o755); e != nil {
			t.Fatal(e)
		}
		root := sample(t, false)
		noise := make([]byte, 8*mib)
		for i, x := 0, uint32(1); i < len(noise); i++ {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			noise[i] = byte(x)
		}
		if e := root.WriteFile("/noise", noise, tree.Owner{Mode: 0o644}); e != nil {
			t.Fatal(e)
		}
		in, _ := input(t, kind, root)
		in.Work, in.Out = dir, filepath.Join(dir, "out")
		_, e := Pack(t.Context(), in)
		if e == nil || !strings.Contains(e.Error(), "no space is left") {
			t.Errorf("%s: got %v", kind, e)
		}
		os.RemoveAll(dir)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tar", "oci", "qcow2", "live-iso", "google"} {
		in, _ := input(t, kind, sample(t, false))
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped by the test")
		cancel(stopped)
		if _, err := Pack(ctx, in); !errors.Is(err, stopped) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	names := func(arch string, enabled bool) string {
		var b []string
		for _, x := range Types(arch) {
			if x.Enabled || !enabled {
				b = append(b, x.Name)
			} else if x.Why == "" {
				t.Errorf("%s is not enabled, and nobody knows why", x.Name)
			}
		}
		return strings.Join(b, " ")
	}
	const all = "alibaba ami ext4-filesystem google hyper-v live-iso liveimg-tar oci openstack partitioned-disk qcow2 tar vhd vmdk"
	if got := names("x86_64", false); got != all {
		t.Errorf("types: %s", got)
	}
	real.Need(t, "qemu-img", "mkfs.ext4", "sfdisk", "xorriso", "mksquashfs")
	if got := names("x86_64", true); got != all {
		t.Errorf("on x86_64: %s", got)
	}
	if got := names("aarch64", true); got != "ami ext4-filesystem live-iso liveimg-tar oci openstack partitioned-disk qcow2 tar" {
		t.Errorf("on aarch64: %s", got)
	}
	if got := names("s390x", true); got != "ext4-filesystem live-iso liveimg-tar oci openstack partitioned-disk qcow2 tar" {
		t.Errorf("on s390x: %s", got)
	}
	in, _ := input(t, "tar", sample(t, false))
	in.Kind = "nosuch"
	if _, err := Pack(t.Context(), in); sdk.CodeOf(err) != sdk.Invalid {
		t.Errorf("an unknown type: %v", err)
	}
	in.Kind, in.Arch = "vmdk", "aarch64"
	if _, err := Pack(t.Context(), in); sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), "there is no vmdk for aarch64") {
		t.Errorf("a type that is not enabled: %v", err)
	}
}
