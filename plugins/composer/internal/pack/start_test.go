package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// speaker is a kernel, by the boot protocol of Linux on x86
// (https://docs.kernel.org/arch/x86/boot.html), that writes its command line to
// the first serial port and ends the machine by the port of isa-debug-exit. It
// can be entered in real mode, as isolinux does, and in protected mode, as GRUB
// does.
func speaker() []byte {
	const setup = 2 * sector // the boot sector and one of setup code
	k := make([]byte, setup, 8*sector)
	k[0x1f1] = 1                                     // sectors of setup code
	binary.LittleEndian.PutUint32(k[0x1f4:], 32)     // size of the rest, in paragraphs
	binary.LittleEndian.PutUint16(k[0x1fe:], 0xaa55) // flag
	copy(k[0x200:], "\xeb\x66HdrS")                  // a jump over the header
	binary.LittleEndian.PutUint16(k[0x206:], 0x0203) // version
	k[0x211] = 0x81                                  // loaded high, has a heap
	binary.LittleEndian.PutUint32(k[0x214:], 0x100000)
	binary.LittleEndian.PutUint16(k[0x224:], 0xde00)
	binary.LittleEndian.PutUint32(k[0x22c:], 0x37ffffff)
	copy(k[0x268:], []byte{
		0x66, 0xa1, 0x28, 0x02, // mov eax, [0x228]
		0x66, 0xc1, 0xe8, 0x04, // shr eax, 4
		0x8e, 0xe0, // mov fs, ax
		0x8b, 0x36, 0x28, 0x02, // mov si, [0x228]
		0x83, 0xe6, 0x0f, // and si, 15
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0x64, 0x8a, 0x04, // l: mov al, fs:[si]
		0x84, 0xc0, // test al, al
		0x74, 0x04, // jz d
		0xee,       // out dx, al
		0x46,       // inc si
		0xeb, 0xf5, // jmp l
		0xb0, 0x00, 0xe6, 0xf4, // d: out 0xf4, 0
		0xf4, 0xeb, 0xfd, // h: hlt; jmp h
	})
	k = append(k,
		0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00, // mov esi, [esi+0x228]
		0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 0x3f8
		0xac,       // l: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz d
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp l
		0xb0, 0x00, 0xe6, 0xf4, // d: out 0xf4, 0
		0xf4, 0xeb, 0xfd, // h: hlt; jmp h
	)
	return append(k, make([]byte, 4*sector-len(k))...)
}

// boot starts a machine, and returns what it says on its serial port.
func boot(t *testing.T, args ...string) string {
	t.Helper()
	// Large, and slow without help by the processor: where it is missing, the
	// images are still checked by all other tests.
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("qemu-system-x86_64 is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{
		"-machine", "pc,accel=tcg", "-m", "128", "-nodefaults", "-vga", "std", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=1",
	}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("the machine has not ended as the kernel ends it: %v\n%q", err, out.String())
	}
	return out.String()
}

func startable(t *testing.T) *tree.Root {
	t.Helper()
	root := sample(t, true)
	for _, name := range []string{"/boot/vmlinuz-6.9.1", "/boot/vmlinuz-6.10.0"} {
		if err := root.WriteFile(name, speaker(), plain); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const hostile = `quiet console=ttyS0 name='it;halt' path=$root`

func TestDiskStarts(t *testing.T) {
	t.Parallel()
	real.Need(t, "grub-mkimage")
	in, l := input(t, "qcow2", startable(t))
	in.Append = hostile
	pack(t, in, l)
	if len(l.warnings) > 0 {
		t.Errorf("warnings: %q", l.warnings)
	}
	if left, err := os.ReadDir(in.Work); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	run(t, "qemu-img", "convert", "-O", "raw", in.Out, raw)
	checkDisk(t, raw, 0)
	said := boot(t, "-drive", "file="+in.Out+",format=qcow2,if=ide")
	if want := "root=UUID=" + in.uuid("root") + " ro quiet console=ttyS0 "; !strings.Contains(said, want) || !strings.Contains(said, "it;halt") || !strings.Contains(said, "path=$root") {
		t.Errorf("the kernel was started with\n%q, want %q", said, want)
	}
}

func TestISOStarts(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/lib/ISOLINUX/isolinux.bin"); err != nil {
		real.Missing(t, "isolinux is not installed")
	}
	in, l := input(t, "live-iso", startable(t))
	in.Append = "quiet console=ttyS0"
	pack(t, in, l)
	if len(l.warnings) > 0 {
		t.Errorf("warnings: %q", l.warnings)
	}
	if said := boot(t, "-cdrom", in.Out); !strings.Contains(said, "root=live:CDLABEL=packed rd.live.image quiet console=ttyS0") {
		t.Errorf("the kernel was started with %q", said)
	}
}
