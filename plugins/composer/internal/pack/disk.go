package pack

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/iib-engine/iib/sdk"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	// first is where the partition begins, as all partitioning programs have it.
	first = mib
	// largest keeps a slip of a zero or two from filling the disk with metadata.
	largest = 16 << 40
)

// filesystemSize is what the tree needs as a file system, in whole MiB.
func (in *Input) filesystemSize(ctx context.Context) (size, inodes int64, err error) {
	bytes, entries, err := in.Root.Size(ctx)
	if err != nil {
		return 0, 0, err
	}
	inodes = entries + entries/5 + 1024
	// A tenth for extents and directories, the tables, the journal, and room to
	// start in.
	size = bytes + bytes/10 + inodes*256 + 48*mib
	// Reserved for root, which a user of the image has no say in.
	size += size / 50
	return up(size, mib), inodes, nil
}

func up(n, to int64) int64 { return (n + to - 1) / to * to }

// makeFilesystem writes the tree as ext4 into a file, from an offset on.
func (in *Input) makeFilesystem(ctx context.Context, file string, offset, size, inodes int64) error {
	// A larger file system than the tree needs has room for more files.
	inodes = max(inodes, size/16384)
	extended := fmt.Sprintf("hash_seed=%s,root_owner=0:0,lazy_itable_init=1,nodiscard", in.uuid("hash seed"))
	if offset > 0 {
		extended += fmt.Sprintf(",offset=%d", offset)
	}
	return in.run(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "1", "-L", "root", "-U", in.uuid("root"), "-E", extended,
		"-N", strconv.FormatInt(inodes, 10), "-d", in.Root.Dir(), file, strconv.FormatInt(size/1024, 10)+"k")
}

// filesystem makes filesystem.img.
func filesystem(ctx context.Context, in *Input) (*Result, error) {
	size, inodes, err := in.filesystemSize(ctx)
	if err != nil {
		return nil, err
	}
	if size, err = in.atLeast(size); err != nil {
		return nil, err
	}
	if err := create(in.Out, size); err != nil {
		return nil, err
	}
	return nil, in.makeFilesystem(ctx, in.Out, 0, size, inodes)
}

// atLeast is a size in whole MiB that has both what is needed and what was
// asked for.
func (in *Input) atLeast(size int64) (int64, error) {
	if in.Size < 0 || in.Size > largest {
		return 0, sdk.FieldErrorf("size", "a disk of %d bytes is not one of up to %d", in.Size, int64(largest))
	}
	return up(max(size, in.Size), mib), nil
}

// raw makes a disk with one partition.
func raw(ctx context.Context, in *Input) (*Result, error) {
	return nil, in.makeDisk(ctx, in.Out, mib)
}

// makeDisk makes a raw disk of a multiple of unit bytes.
func (in *Input) makeDisk(ctx context.Context, file string, unit int64) error {
	size, inodes, err := in.filesystemSize(ctx)
	if err != nil {
		return err
	}
	if size, err = in.atLeast(size + first); err != nil {
		return err
	}
	size = up(size, unit)
	if size-first >= 2<<40 {
		return sdk.FieldErrorf("size", "a disk of %d bytes has no place in a partition table of this kind: 2 TiB are the most", size)
	}
	if err := create(file, size); err != nil {
		return err
	}
	// The old kind of table: every cloud and every firmware reads it.
	id := in.uuid("disk")[:8]
	table := fmt.Sprintf("label: dos\nlabel-id: 0x%s\nunit: sectors\nstart=%d, size=%d, type=83, bootable\n", id, first/512, (size-first)/512)
	if err := in.feed(ctx, table, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", file); err != nil {
		return err
	}
	if err := in.makeFilesystem(ctx, file, first, size-first, inodes); err != nil || !in.bootable {
		return err
	}
	return in.installLoader(ctx, file)
}

// convert makes a disk in one of qemu's formats.
func convert(format string, options ...string) func(context.Context, *Input) (*Result, error) {
	return func(ctx context.Context, in *Input) (*Result, error) {
		disk := filepath.Join(in.Work, "disk.raw")
		if err := in.makeDisk(ctx, disk, mib); err != nil {
			return nil, err
		}
		args := []string{"convert", "-f", "raw", "-O", format}
		for _, o := range options {
			args = append(args, "-o", o)
		}
		if err := in.run(ctx, "qemu-img", append(args, disk, in.Out)...); err != nil {
			return nil, err
		}
		return nil, os.Remove(disk)
	}
}

// googleDisk makes the archive that Google Compute Engine imports.
func googleDisk(ctx context.Context, in *Input) (*Result, error) {
	disk := filepath.Join(in.Work, "disk.raw")
	if err := in.makeDisk(ctx, disk, gib); err != nil {
		return nil, err
	}
	info, err := os.Stat(disk)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(in.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	// The importer reads GNU's format and wants this name.
	h := &tar.Header{Name: "disk.raw", Mode: 0o644, Size: info.Size(), ModTime: time.Unix(in.Epoch.Unix(), 0), Typeflag: tar.TypeReg, Format: tar.FormatGNU}
	if err := w.WriteHeader(h); err != nil {
		return nil, err
	}
	if err := copyFile(contextWriter{ctx, w}, disk); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if err := os.Remove(disk); err != nil {
		return nil, err
	}
	return nil, out.Close()
}

// contextWriter ends a copy with its context.
type contextWriter struct {
	ctx context.Context
	w   *tar.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.w.Write(p)
}
