// Package pack makes an image of a type from a root tree. What the programs of
// this host cannot make is known before anything is begun.
package pack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// Type is a type of image (contract section 12).
type Type struct {
	Name      string
	ImageName string // the file's name
	Enabled   bool
	Why       string // why it is not enabled: a sentence
	// Format is what the file is, Compression and CompressArgs how it is packed.
	Format       string
	Compression  string
	CompressArgs []string
	// Disk tells that the image has a size of its own, at least the one asked
	// for, Bootable that it should start by itself.
	Disk, Bootable bool
}

// kind is a type with what makes it.
type kind struct {
	Type
	programs []string
	// arches are the RPM architectures that it is for; nil is all.
	arches []string
	pack   func(context.Context, *Input) (*Result, error)
}

var (
	x86      = []string{"x86_64", "i686"}
	diskTool = []string{"mkfs.ext4", "sfdisk"}
	qemuTool = []string{"mkfs.ext4", "sfdisk", "qemu-img"}
)

// xzArgs give the same bytes whatever the number of cores: several threads cut
// the stream, one does not.
var xzArgs = []string{"-2", "--threads=2", "--block-size=16MiB"}

func kinds() []kind {
	xz := func(name string) Type {
		return Type{Name: name, ImageName: "root.tar.xz", Format: "tar", Compression: "xz", CompressArgs: xzArgs}
	}
	disk := func(name, image, format string) Type {
		return Type{Name: name, ImageName: image, Format: format, Disk: true, Bootable: true}
	}
	google := disk("google", "disk.tar.gz", "tar")
	google.Compression = "gzip"
	liveimg := xz("liveimg-tar")
	liveimg.Bootable = true
	return []kind{
		{disk("alibaba", "disk.qcow2", "qcow2"), qemuTool, x86, convert("qcow2")},
		{disk("ami", "disk.ami", "raw"), diskTool, append(x86[:2:2], "aarch64"), raw},
		{Type{Name: "ext4-filesystem", ImageName: "filesystem.img", Format: "ext4", Disk: true}, diskTool[:1], nil, filesystem},
		{google, diskTool, x86, googleDisk},
		{disk("hyper-v", "disk.vhdx", "vhdx"), qemuTool, x86, convert("vhdx", "subformat=dynamic")},
		{Type{Name: "live-iso", ImageName: "live.iso", Format: "iso9660", Bootable: true}, []string{"mksquashfs", "xorriso"}, nil, liveISO},
		{liveimg, nil, nil, tarXZ},
		{Type{Name: "oci", ImageName: "image.oci.tar", Format: "oci-archive", Compression: "gzip"}, nil, nil, ociArchive},
		{disk("openstack", "disk.qcow2", "qcow2"), qemuTool, nil, convert("qcow2")},
		{disk("partitioned-disk", "disk.img", "raw"), diskTool, nil, raw},
		{disk("qcow2", "disk.qcow2", "qcow2"), qemuTool, nil, convert("qcow2")},
		{xz("tar"), nil, nil, tarXZ},
		{disk("vhd", "disk.vhd", "vpc"), qemuTool, x86, convert("vpc", "subformat=fixed,force_size=on")},
		{disk("vmdk", "disk.vmdk", "vmdk"), qemuTool, x86, convert("vmdk", "subformat=streamOptimized")},
	}
}

// Types are all types, sorted by name, for images of an RPM architecture; those
// that this host cannot make are not enabled.
func Types(arch string) []Type {
	var types []Type
	for _, k := range kinds() {
		t := k.Type
		t.Enabled = true
		if k.arches != nil && !slices.Contains(k.arches, arch) {
			t.Enabled, t.Why = false, fmt.Sprintf("there is no %s for %s", t.Name, arch)
		}
		for _, program := range k.programs {
			if _, err := process.Find(program); err != nil && t.Enabled {
				t.Enabled, t.Why = false, fmt.Sprintf("%s needs the program %s, which is not installed on this host", t.Name, program)
			}
		}
		types = append(types, t)
	}
	slices.SortFunc(types, func(a, b Type) int { return cmp.Compare(a.Name, b.Name) })
	return types
}

// Find returns a type.
func Find(name, arch string) (Type, bool) {
	types := Types(arch)
	i := slices.IndexFunc(types, func(t Type) bool { return t.Name == name })
	if i < 0 {
		return Type{}, false
	}
	return types[i], true
}

// Input is an image to be made.
type Input struct {
	Kind string
	Root *tree.Root
	// Epoch is the time of everything that has none of its own.
	Epoch time.Time
	// Work is an empty directory; Out is the image's file, which must not exist.
	Work, Out string
	// Size is the least size of a disk in bytes.
	Size int64
	// Append is added to the kernel's command line.
	Append string
	// Title names the image to people.
	Title string
	// Seed decides identifiers: the same seed, the same image.
	Seed string
	// Arch is the RPM architecture.
	Arch string
	Log  func(format string, args ...any)
	// Warn hears of what the image lacks.
	Warn func(format string, args ...any)

	// bootable is set where the disk gets a bootloader.
	bootable bool
}

// Result is what else there is to know of an image.
type Result struct {
	// Layer is the tree as an image layer, for type oci; it lies in Work.
	Layer *sdk.Layer
}

// Pack makes the image.
func Pack(ctx context.Context, in *Input) (*Result, error) {
	t, ok := Find(in.Kind, in.Arch)
	if !ok {
		return nil, sdk.FieldErrorf("compose_type", "there is no image type %q", in.Kind)
	}
	if !t.Enabled {
		return nil, sdk.FieldErrorf("compose_type", "%s", t.Why)
	}
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.Name == in.Kind })
	if err := in.prepare(t); err != nil {
		return nil, explain(ctx, t.Name, err)
	}
	result, err := kinds()[i].pack(ctx, in)
	if err != nil {
		return nil, explain(ctx, t.Name, err)
	}
	if result == nil {
		result = &Result{}
	}
	return result, nil
}

// explain makes a sentence of what went wrong.
func explain(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if NoSpace(err) {
		return sdk.Errorf(sdk.Internal, "make the %s image: no space is left on the disk of the workspace", name)
	}
	return sdk.Errorf(sdk.CodeOf(err), "make the %s image: %w", name, err)
}

// NoSpace reports whether an error says that a disk is full.
func NoSpace(err error) bool {
	var failure *process.Failure
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.As(err, &failure) && failure.NoSpace()
}

// uuid is an identifier for a purpose, the same for the same seed.
func (in *Input) uuid(purpose string) string {
	b := sha256.Sum256([]byte(purpose + "\x00" + in.Seed))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// run runs a program that tells its story in the log.
func (in *Input) run(ctx context.Context, program string, args ...string) error {
	return in.feed(ctx, "", program, args...)
}

// feed runs a program with a text on its standard input.
func (in *Input) feed(ctx context.Context, input, program string, args ...string) error {
	lines := &process.Lines{Each: func(line string) { in.Log("%s: %s", program, line) }}
	defer lines.Flush()
	in.Log("%s %s", program, strings.Join(args, " "))
	epoch := fmt.Sprint(in.Epoch.Unix())
	command := process.Command{
		Program: program, Args: args, Dir: in.Work, Stdin: strings.NewReader(input), Stdout: lines, Stderr: lines,
		Env:  []string{"SOURCE_DATE_EPOCH=" + epoch, "E2FSPROGS_FAKE_TIME=" + epoch},
		Attr: process.AsRoot,
	}
	return command.Run(ctx)
}

// create makes a file of a size, all of it a hole.
func create(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
