package intake_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iib-engine/iib/plugins/omps/internal/fault"
	"github.com/iib-engine/iib/plugins/omps/internal/intake"
)

const limit = 1 << 20

// member is a member of a zip as it is written, lies included.
type member struct {
	name    string
	content []byte
	mode    fs.FileMode
	store   bool
	change  func(*zip.FileHeader)
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, m := range members {
		header := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		if m.store {
			header.Method = zip.Store
		}
		if m.mode != 0 {
			header.SetMode(m.mode)
		}
		var f io.Writer
		var err error
		if m.change == nil {
			f, err = w.CreateHeader(header)
		} else {
			var packed bytes.Buffer
			deflate, _ := flate.NewWriter(&packed, flate.BestSpeed)
			deflate.Write(m.content)
			deflate.Close()
			header.CRC32 = crc32.ChecksumIEEE(m.content)
			header.UncompressedSize64, header.CompressedSize64 = uint64(len(m.content)), uint64(packed.Len())
			m.content = packed.Bytes()
			m.change(header)
			f, err = w.CreateRaw(header)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(name string) member { return member{name: name, content: []byte("a: b\n")} }

func TestAnArchiveIsRead(t *testing.T) {
	got, err := intake.Read(archive(t, member{name: "1.0.0/", mode: fs.ModeDir | 0o755}, file("1.0.0/csv.yaml"), file("./package.yaml"), member{name: "empty"}), limit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1.0.0/csv.yaml", "empty", "package.yaml"}, got.Paths()); diff != "" {
		t.Error(diff)
	}
	if got, err := intake.Read(archive(t), limit); err != nil || len(got) != 0 {
		t.Errorf("a zip without files is one: %v, %v", got, err)
	}
	if _, err := intake.Read(archive(t, member{name: "full", content: make([]byte, limit)}), limit); err != nil {
		t.Errorf("as large as the limit is not too large: %v", err)
	}
}

func hostile(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	good := archive(t, file("package.yaml"), member{name: "more", content: bytes.Repeat([]byte("x y z "), 1000), store: true})
	damaged := bytes.Clone(good)
	damaged[bytes.Index(damaged, []byte("x y z"))] ^= 0xff
	bomb := bytes.Repeat([]byte{0}, 8*limit)
	many := make([]member, 100_000)
	for i := range many {
		many[i] = member{name: fmt.Sprint(i), store: true}
	}
	lie := func(size uint64) func(*zip.FileHeader) {
		return func(h *zip.FileHeader) { h.UncompressedSize64 = size }
	}
	return map[string]struct {
		data []byte
		want string
	}{
		"a path to above":             {archive(t, file("../evil.txt")), "leads out"},
		"a path to above, inside":     {archive(t, file("a/../../evil.txt")), "leads out"},
		"an absolute path":            {archive(t, file("/etc/passwd")), "relative"},
		"a path of another system":    {archive(t, file(`..\evil.txt`)), "slashes"},
		"a drive":                     {archive(t, file("C:evil.txt")), "relative"},
		"a NUL":                       {archive(t, file("a\x00b")), "relative"},
		"no name":                     {archive(t, file("")), "empty"},
		"a very long name":            {archive(t, file(strings.Repeat("a", 5000))), "too long"},
		"a very deep name":            {archive(t, file(strings.Repeat("a/", 100)+"b")), "deep"},
		"a symbolic link":             {archive(t, member{name: "link", content: []byte("/etc/passwd"), mode: fs.ModeSymlink | 0o777}), "symbolic link"},
		"a device":                    {archive(t, member{name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}), "neither a file"},
		"two members of a name":       {archive(t, file("a"), file("a")), "two members"},
		"two spellings of a name":     {archive(t, file("a/b"), file("a/./b")), "two members"},
		"a file that is a directory":  {archive(t, file("a"), file("a/b")), "as a directory"},
		"a directory that is a file":  {archive(t, file("a/b"), file("a")), "two members"},
		"a bomb that says so":         {archive(t, member{name: "bomb", content: bomb}), "larger than limit"},
		"a bomb that says it is none": {archive(t, member{name: "bomb", content: bomb, change: lie(10)}), ""},
		"many bombs":                  {archive(t, member{name: "1", content: bomb[:limit/2+1]}, member{name: "2", content: bomb[:limit/2]}), "larger than limit"},
		"sizes whose sum overflows":   {archive(t, member{name: "1", content: bomb[:9], change: lie(1<<64 - 1)}, member{name: "2", content: bomb[:9], change: lie(2)}), "larger than limit"},
		"a size that is not reached":  {archive(t, member{name: "1", content: []byte("abc"), change: lie(1000)}), ""},
		"100,000 entries":             {archive(t, many...), "more than 10000 entries"},
		"an encrypted member":         {archive(t, member{name: "secret.yaml", content: []byte("x"), change: func(h *zip.FileHeader) { h.Flags |= 1 }}), "secret.yaml\" is encrypted"},
		"an unknown method":           {archive(t, member{name: "a", content: []byte("x"), change: func(h *zip.FileHeader) { h.Method = 12 }}), "not supported"},
		"damaged content":             {damaged, "CRC check failed"},
		"no bytes":                    {nil, "not a zip file"},
		"the wrong magic":             {append([]byte("\x1f\x8b\x08\x00"), make([]byte, 100)...), "not a zip file"},
		"a text":                      {[]byte("packageName: x\n"), "not a zip file"},
		"cut off":                     {good[:len(good)-30], "not a zip file"},
		"cut in the middle":           {good[:len(good)/2], "not a zip file"},
		"a zip64 end that lies":       {zip64(good, 1<<40, 1<<50, 1<<60), "not a zip file"},
		"a zip64 end of no directory": {zip64(good, 1<<62, 200, 0), "not a zip file"},
	}
}

// zip64 puts an end record of the large format before that of a zip, which
// tells of more entries and bytes than there are.
func zip64(good []byte, entries, size, offset uint64) []byte {
	end := len(good) - 22
	record := make([]byte, 56)
	copy(record, "PK\x06\x06")
	binary.LittleEndian.PutUint64(record[4:], 44)
	binary.LittleEndian.PutUint64(record[24:], entries)
	binary.LittleEndian.PutUint64(record[32:], entries)
	binary.LittleEndian.PutUint64(record[40:], size)
	binary.LittleEndian.PutUint64(record[48:], offset)
	locator := make([]byte, 20)
	copy(locator, "PK\x06\x07")
	binary.LittleEndian.PutUint64(locator[8:], uint64(end))
	binary.LittleEndian.PutUint32(locator[16:], 1)
	last := bytes.Clone(good[end:])
	binary.LittleEndian.PutUint16(last[8:], 0xffff)
	binary.LittleEndian.PutUint16(last[10:], 0xffff)
	binary.LittleEndian.PutUint32(last[12:], 0xffffffff)
	binary.LittleEndian.PutUint32(last[16:], 0xffffffff)
	return bytes.Join([][]byte{good[:end], record, locator, last}, nil)
}

func TestHostileArchivesAreRefused(t *testing.T) {
	for name, c := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			files, err := intake.Read(c.data, limit)
			runtime.ReadMemStats(&after)
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != fault.UploadedFile || f.Status != 400 || !strings.Contains(f.Message, c.want) {
				t.Errorf("got %d files, %v; want a refusal with %q", len(files), err, c.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 16*limit {
				t.Errorf("it took %d bytes of memory", used)
			}
		})
	}
}

// FuzzRead demands of every archive that is taken what the rest relies on.
func FuzzRead(f *testing.F) {
	for _, c := range hostile(f) {
		if len(c.data) < 1<<16 {
			f.Add(c.data)
		}
	}
	f.Add(archive(f, file("package.yaml"), file("1.0.0/csv.yaml")))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := intake.Read(data, limit)
		if err != nil {
			if f := new(fault.Fault); !errors.As(err, &f) || files != nil {
				t.Fatalf("%v with %d files", err, len(files))
			}
			return
		}
		total := 0
		for name, content := range files {
			if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00") {
				t.Errorf("the name %q was taken", name)
			}
			total += len(content)
		}
		if total > limit {
			t.Errorf("%d bytes were taken", total)
		}
	})
}
