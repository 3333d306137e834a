package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/plugins/composer/internal/tree"
	"github.com/iib-engine/iib/sdk"
)

// writeTar writes a tree: the same tree, the same bytes.
func (in *Input) writeTar(ctx context.Context, out io.Writer) error {
	w := tar.NewWriter(out)
	// The first name of a file is the file, the others are links to it.
	names := make(map[[2]uint64]string)
	err := in.Root.Walk(ctx, func(e tree.Entry) error {
		if e.Name == "." {
			return nil
		}
		h, err := tar.FileInfoHeader(e.Info, e.Link)
		if err != nil {
			return err
		}
		h.Name = e.Name
		if e.Info.IsDir() {
			h.Name += "/"
		}
		// Names of users are the image's business, not the host's.
		h.Uname, h.Gname = "", ""
		h.Uid, h.Gid = e.UID, e.GID
		h.ModTime = time.Unix(e.Info.ModTime().Unix(), 0)
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		for name, value := range e.Xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = make(map[string]string)
			}
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
		if e.Info.Mode().IsRegular() && e.Stat.Nlink > 1 {
			key := [2]uint64{uint64(e.Stat.Dev), e.Stat.Ino}
			if first, ok := names[key]; ok {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			} else {
				names[key] = e.Name
			}
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		return copyFile(w, in.Root.Path(e))
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func copyFile(w io.Writer, name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// tarXZ makes root.tar.xz.
func tarXZ(ctx context.Context, in *Input) (*Result, error) {
	out, err := os.OpenFile(in.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := in.compress(ctx, out, func(ctx context.Context, w io.Writer) error { return in.writeTar(ctx, w) }); err != nil {
		return nil, err
	}
	return nil, out.Close()
}

// compress runs xz on what write writes.
func (in *Input) compress(ctx context.Context, out *os.File, write func(context.Context, io.Writer) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	read, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	written := make(chan error, 1)
	go func() {
		defer feed.Close()
		buffered := bufio.NewWriterSize(feed, 256<<10)
		err := write(ctx, buffered)
		if err == nil {
			err = buffered.Flush()
		}
		if err != nil {
			// What is cut short must not look like a whole archive.
			cancel(err)
		}
		written <- err
	}()
	if _, missing := process.Find("xz"); missing != nil {
		err = slowXZ(out, read)
	} else {
		err = in.xz(ctx, out, read)
	}
	read.Close() // ends a writer that nobody reads any more
	if e := <-written; e != nil && !errors.Is(e, unix.EPIPE) && !errors.Is(e, fs.ErrClosed) {
		return e
	}
	return err
}

// xz runs the program.
func (in *Input) xz(ctx context.Context, out, read *os.File) error {
	in.Log("xz %s", strings.Join(xzArgs, " "))
	command := process.Command{
		Program: "xz", Args: append([]string{"--compress", "--stdout"}, xzArgs...), Dir: in.Work, Stdin: read, Stdout: out,
	}
	return command.Run(ctx)
}

// slowXZ is for hosts without the program: it takes several times as long.
func slowXZ(out io.Writer, read io.Reader) error {
	w, err := xz.NewWriter(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, read); err != nil {
		return err
	}
	return w.Close()
}

// counter hashes and counts what passes.
type counter struct {
	w io.Writer
	h hash.Hash
	n int64
}

func count(w io.Writer) *counter { return &counter{w: w, h: sha256.New()} }

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.h.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (c *counter) digest() string { return fmt.Sprintf("sha256:%x", c.h.Sum(nil)) }

// Words of the image specification of the Open Container Initiative.
const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// goArch is what images call an RPM architecture.
func goArch(arch string) string {
	switch arch {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "i686":
		return "386"
	}
	return arch
}

// GoArch is what images call an RPM architecture.
func GoArch(arch string) string { return goArch(arch) }

// ociArchive makes an archive of an image of one layer, the tree.
func ociArchive(ctx context.Context, in *Input) (*Result, error) {
	layer := &sdk.Layer{Path: filepath.Join(in.Work, "layer.tar.gz"), CreatedBy: "compose " + in.Title}
	if err := in.writeLayer(ctx, layer); err != nil {
		return nil, err
	}
	created := in.Epoch.UTC().Format(time.RFC3339)
	platform := map[string]string{"architecture": goArch(in.Arch), "os": "linux"}
	execution := map[string]any{}
	if in.Root.Exists("/bin/sh") {
		execution["Cmd"] = []string{"/bin/sh"}
	}
	config := encode(map[string]any{
		"created": created, "architecture": platform["architecture"], "os": "linux", "config": execution,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{layer.DiffID}},
		"history": []map[string]any{{"created": created, "created_by": layer.CreatedBy}},
	})
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor{MediaType: ociConfig, Digest: digest(config), Size: int64(len(config))},
		"layers": []descriptor{{MediaType: ociLayer, Digest: layer.Digest, Size: layer.Size}},
	})
	index := encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []descriptor{{
			MediaType: ociManifest, Digest: digest(manifest), Size: int64(len(manifest)), Platform: platform,
			Annotations: map[string]string{"org.opencontainers.image.ref.name": "latest"},
		}},
	})
	out, err := os.OpenFile(in.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	blob := func(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index},
		{"blobs/", nil}, {"blobs/sha256/", nil},
		{blob(digest(config)), config}, {blob(digest(manifest)), manifest}, {blob(layer.Digest), nil},
	} {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), ModTime: in.Epoch, Typeflag: tar.TypeReg}
		isLayer := f.name == blob(layer.Digest)
		switch {
		case isLayer:
			h.Size = layer.Size
		case f.content == nil:
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if isLayer {
			err = copyFile(w, layer.Path)
		} else {
			_, err = w.Write(f.content)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return &Result{Layer: layer}, out.Close()
}

func (in *Input) writeLayer(ctx context.Context, layer *sdk.Layer) error {
	file, err := os.OpenFile(layer.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	packed := count(file)
	z, err := gzip.NewWriterLevel(packed, 6)
	if err != nil {
		return err
	}
	plain := count(z)
	if err := in.writeTar(ctx, plain); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	layer.Digest, layer.Size, layer.DiffID = packed.digest(), packed.n, plain.digest()
	return file.Close()
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings and numbers
	}
	return data
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
