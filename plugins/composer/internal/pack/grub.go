package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/sdk"
)

const (
	// grubModules is where GRUB keeps what disks with the old kind of partition
	// table start with.
	grubModules = "/usr/lib/grub/i386-pc"
	grubProgram = "grub-mkimage"
	grubConfig  = "/boot/grub/grub.cfg"
	sector      = 512
)

// built are the parts of GRUB that lie before the partition: all that the
// configuration needs, because nothing else of GRUB is in the image.
var built = []string{
	"biosdisk", "part_msdos", "ext2", "search", "search_fs_uuid", "normal", "configfile", "linux", "echo", "test", "boot", "minicmd", "serial", "terminal", "halt", "reboot", "ls", "cat",
}

// loader reports whether disks of this architecture get a bootloader on this
// host, or what it lacks.
func (in *Input) loader() (bool, string) {
	if !slices.Contains(x86, in.Arch) {
		return false, "none for " + in.Arch + " can be installed without mounting the disk"
	}
	_, missing := process.Find(grubProgram)
	if _, err := os.Stat(filepath.Join(grubModules, "boot.img")); missing != nil || err != nil {
		return false, "GRUB for BIOS (" + grubProgram + " and " + grubModules + ") is not on this host"
	}
	return true, ""
}

// grubMenu is GRUB's configuration. Each word of the command line is quoted: in
// GRUB's language it could be a command.
func (in *Input) grubMenu(kernels []kernel, line string) string {
	var b strings.Builder
	b.WriteString("set timeout=3\nset default=0\n")
	if strings.Contains(line, "console=ttyS0") {
		b.WriteString("serial --unit=0 --speed=115200\nterminal_output console serial\nterminal_input console serial\n")
	}
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for _, k := range kernels {
		fmt.Fprintf(&b, "menuentry %s {\n  linux %s", quote(in.name()+" ("+k.version+")"), quote(k.image))
		for word := range strings.FieldsSeq(line) {
			b.WriteString(" " + quote(word))
		}
		b.WriteString("\n")
		if k.initrd != "" {
			fmt.Fprintf(&b, "  initrd %s\n", quote(k.initrd))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// installLoader puts GRUB before the first partition, in the place that
// partitioning programs leave for it: its first sector around the partition
// table, the rest behind that. GRUB's own installer wants a device for this.
func (in *Input) installLoader(ctx context.Context, disk string) error {
	early := filepath.Join(in.Work, "early.cfg")
	config := fmt.Sprintf("search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)/boot/grub\nconfigfile ($root)%s\n", in.uuid("root"), grubConfig)
	if err := os.WriteFile(early, []byte(config), 0o600); err != nil {
		return err
	}
	core := filepath.Join(in.Work, "core.img")
	if err := in.run(ctx, grubProgram, append([]string{"-O", "i386-pc", "-d", grubModules, "-p", "/boot/grub", "-c", early, "-o", core}, built...)...); err != nil {
		return err
	}
	boot, err := os.ReadFile(filepath.Join(grubModules, "boot.img"))
	if err != nil {
		return err
	}
	rest, err := os.ReadFile(core)
	if err != nil {
		return err
	}
	// Where the first sector looks for the rest: number 1, as it comes.
	const kernelSector, code = 0x5c, 440
	if len(boot) != sector || !bytes.Equal(boot[kernelSector:kernelSector+8], []byte{1, 0, 0, 0, 0, 0, 0, 0}) {
		return sdk.Errorf(sdk.Internal, "%s/boot.img is not what GRUB 2 begins with", grubModules)
	}
	if len(rest) > first-sector {
		return sdk.Errorf(sdk.Internal, "GRUB has %d bytes, more than fit before the partition", len(rest))
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// Behind the code are the disk's identifier and the partition table.
	if _, err := f.WriteAt(boot[:code], 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(rest, sector); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return errors.Join(os.Remove(core), os.Remove(early))
}
