package pack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isolinux is where the loader of ISO images is: in the tree, if its package is
// among the blueprint's, or on the host.
var isolinux = []struct {
	inTree          bool
	loader, modules string
}{
	{true, "/usr/share/syslinux/isolinux.bin", "/usr/share/syslinux"},
	{false, "/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios"},
	{false, "/usr/share/syslinux/isolinux.bin", "/usr/share/syslinux"},
}

// liveISO makes live.iso: the tree as the compressed file system that dracut's
// live module mounts, beside the kernel.
func liveISO(ctx context.Context, in *Input) (*Result, error) {
	dir := filepath.Join(in.Work, "iso")
	if err := os.MkdirAll(filepath.Join(dir, "LiveOS"), 0o755); err != nil {
		return nil, err
	}
	if err := in.run(ctx, "mksquashfs", in.Root.Dir(), filepath.Join(dir, "LiveOS", "squashfs.img"),
		"-noappend", "-no-progress", "-quiet", "-xattrs", "-comp", "zstd", "-no-exports", "-processors", "2"); err != nil {
		return nil, err
	}
	label := volumeLabel(in.Title)
	args := []string{
		"-as", "mkisofs", "-quiet", "-o", in.Out, "-V", label, "-R", "-J", "-joliet-long", "-iso-level", "3",
		"--modification-date=" + in.Epoch.UTC().Format("20060102150405") + "00",
	}
	if kernels := in.kernels(); len(kernels) > 0 {
		boot, err := in.liveBoot(dir, label, kernels[0])
		if err != nil {
			return nil, err
		}
		args = append(args, boot...)
	}
	return nil, in.run(ctx, "xorriso", append(args, dir)...)
}

// liveBoot puts kernel and loader where they are looked for, and returns the
// options that make the ISO start.
func (in *Input) liveBoot(dir, label string, k kernel) ([]string, error) {
	images := filepath.Join(dir, "images", "pxeboot")
	if err := os.MkdirAll(images, 0o755); err != nil {
		return nil, err
	}
	if err := in.fromTree(k.image, filepath.Join(images, "vmlinuz")); err != nil {
		return nil, err
	}
	line := strings.TrimSpace("root=live:CDLABEL=" + label + " rd.live.image " + in.Append)
	config := ""
	if strings.Contains(in.Append, "console=ttyS0") {
		config = "serial 0 115200\n"
	}
	config += "default live\ntimeout 50\nlabel live\n  kernel /images/pxeboot/vmlinuz\n"
	if k.initrd != "" {
		if err := in.fromTree(k.initrd, filepath.Join(images, "initrd.img")); err != nil {
			return nil, err
		}
		config += "  initrd /images/pxeboot/initrd.img\n"
	} else {
		in.Warn("the kernel %s has no initial file system in the image: it cannot mount the live system", k.version)
	}
	config += "  append " + line + "\n"
	loader := filepath.Join(dir, "isolinux")
	if err := os.MkdirAll(loader, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(loader, "isolinux.cfg"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	loaders := isolinux
	if !slices.Contains(x86, in.Arch) {
		loaders = nil
	}
	for _, at := range loaders {
		get := func(from, name string) error {
			if at.inTree {
				return in.fromTree(from, filepath.Join(loader, name))
			}
			return copyTo(from, filepath.Join(loader, name))
		}
		if get(at.loader, "isolinux.bin") == nil && get(at.modules+"/ldlinux.c32", "ldlinux.c32") == nil {
			return []string{"-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"}, nil
		}
	}
	in.Warn("no bootloader was installed: isolinux, which is for x86, is neither in the image nor on this host; the ISO has kernel, initial file system and a configuration (isolinux/isolinux.cfg) for one")
	return nil, nil
}

// fromTree copies a file of the tree.
func (in *Input) fromTree(name, to string) error {
	at, err := in.Root.Real(name)
	if err != nil {
		return err
	}
	return copyTo(at, to)
}

func copyTo(from, to string) error {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := copyFile(out, from); err != nil {
		out.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return out.Close()
}

// volumeLabel is a name in the letters that every system reads.
func volumeLabel(title string) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, title)
	if label == "" {
		label = "live"
	}
	return label[:min(len(label), 32)]
}
