package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/sdktest/real"
)

// member is a member of a zip that a stranger wrote.
type member struct {
	name    string
	content []byte
	change  func(*zip.FileHeader)
}

// stranger writes a zip with members as they are said to be, lies included.
func stranger(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, m := range members {
		var packed bytes.Buffer
		deflate, err := flate.NewWriter(&packed, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deflate.Write(m.content); err != nil {
			t.Fatal(err)
		}
		if err := deflate.Close(); err != nil {
			t.Fatal(err)
		}
		header := &zip.FileHeader{Name: m.name, Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(m.content), UncompressedSize64: uint64(len(m.content)), CompressedSize64: uint64(packed.Len())}
		if m.change != nil {
			m.change(header)
		}
		f, err := w.CreateRaw(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(packed.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// manyEntries is a zip of empty files, n of them, which the end record says to
// be as many as it likes.
func manyEntries(n int, says uint16) []byte {
	var local, directory bytes.Buffer
	for i := range n {
		name := fmt.Sprintf("%05d", i%100000)
		at := local.Len()
		header := make([]byte, 30)
		copy(header, "PK\x03\x04")
		binary.LittleEndian.PutUint16(header[26:], uint16(len(name)))
		local.Write(header)
		local.WriteString(name)
		entry := make([]byte, 46)
		copy(entry, "PK\x01\x02")
		binary.LittleEndian.PutUint16(entry[28:], uint16(len(name)))
		binary.LittleEndian.PutUint32(entry[42:], uint32(at))
		directory.Write(entry)
		directory.WriteString(name)
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], says)
	binary.LittleEndian.PutUint16(end[10:], says)
	binary.LittleEndian.PutUint32(end[12:], uint32(directory.Len()))
	binary.LittleEndian.PutUint32(end[16:], uint32(local.Len()))
	return bytes.Join([][]byte{local.Bytes(), directory.Bytes(), end}, nil)
}

// large64 puts an end record of the large format before a zip's own, which
// tells of what is not there.
func large64(good []byte, entries, size, offset uint64) []byte {
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
	for i := 8; i < 20; i++ {
		last[i] = 0xff
	}
	return bytes.Join([][]byte{good[:end], record, locator, last}, nil)
}

// peak is the most memory that a process has had since it was last forgotten,
// in bytes.
func peak(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// forgetPeak makes the present the most that a process has had.
func forgetPeak(t testing.TB, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		real.Missing(t, "the memory of a process cannot be measured here: %v", err)
	}
}

// hostileUploads are archives that have to be refused, and by which words.
func hostileUploads(t testing.TB) map[string]struct {
	archive []byte
	words   string
} {
	const mib = 1 << 20
	files := operatorFiles("web", "1.0.0")
	good := zipOf(t, files)
	pkg := member{name: "package.yaml", content: []byte(files["package.yaml"])}
	csv := member{name: "1.0.0/csv.yaml", content: []byte(files["1.0.0/csv.yaml"])}
	text := []byte("a: b\n")
	named := func(name string) []byte { return stranger(t, pkg, csv, member{name: name, content: text}) }
	mode := func(mode fs.FileMode) func(*zip.FileHeader) {
		return func(h *zip.FileHeader) { h.SetMode(mode) }
	}
	says := func(size uint64) func(*zip.FileHeader) {
		return func(h *zip.FileHeader) { h.UncompressedSize64 = size }
	}
	damaged := bytes.Clone(good)
	damaged[bytes.LastIndex(damaged, []byte("PK\x01\x02"))+16] ^= 0xff // its sum of the last member
	inBody := bytes.Clone(good)
	inBody[60] ^= 0xff
	encrypted := func(h *zip.FileHeader) { h.Flags |= 1 }
	return map[string]struct {
		archive []byte
		words   string
	}{
		"traversal":                         {named("../../evil.yaml"), "leads out"},
		"traversal below a directory":       {named("1.0.0/../../../evil.yaml"), "leads out"},
		"an absolute path":                  {named("/tmp/evil.yaml"), "relative"},
		"a path of Windows":                 {named(`..\..\evil.yaml`), "slashes"},
		"a drive":                           {named("C:/evil.yaml"), "relative"},
		"a symbolic link":                   {stranger(t, pkg, csv, member{name: "link", content: []byte("/etc/passwd"), change: mode(fs.ModeSymlink | 0o777)}), "symbolic link"},
		"a symbolic link and a file in it":  {stranger(t, pkg, csv, member{name: "d", content: []byte("/tmp"), change: mode(fs.ModeSymlink | 0o777)}, member{name: "d/evil", content: text}), "symbolic link"},
		"a device":                          {stranger(t, pkg, csv, member{name: "null", change: mode(fs.ModeDevice | fs.ModeCharDevice | 0o666)}), "neither a file"},
		"a name twice":                      {stranger(t, pkg, csv, pkg), "two members"},
		"a name twice, spelt differently":   {stranger(t, pkg, csv, member{name: "./1.0.0/./csv.yaml", content: text}), "two members"},
		"a file that is a directory too":    {stranger(t, pkg, csv, member{name: "1.0.0", content: text}), "two members"},
		"a bomb, 1 to 1000":                 {stranger(t, pkg, csv, member{name: "bomb", content: make([]byte, 100*mib)}), "larger than limit"},
		"a bomb, 1 to 1000, that lies":      {stranger(t, pkg, csv, member{name: "bomb", content: make([]byte, 100*mib), change: says(100)}), ""},
		"bombs that are large together":     {stranger(t, pkg, csv, member{name: "1", content: make([]byte, 11*mib)}, member{name: "2", content: make([]byte, 11*mib)}), "larger than limit"},
		"sizes whose sum overflows":         {stranger(t, pkg, csv, member{name: "1", content: text, change: says(1<<64 - 1)}, member{name: "2", content: text, change: says(16)}), "larger than limit"},
		"100,000 entries":                   {manyEntries(100_000, 0xffff), "entries"},
		"100,000 entries that are said few": {manyEntries(100_000, 3), ""},
		"a large format that lies of size":  {large64(good, 1<<40, 1<<50, 1<<60), "not a zip file"},
		"a large format that lies of where": {large64(good, 2, 1<<63, 1), "not a zip file"},
		"a large format that lies of many":  {large64(good, 1<<62, 200, 0), "not a zip file"},
		"an encrypted member":               {stranger(t, pkg, csv, member{name: "secret.yaml", content: text, change: encrypted}), `"secret.yaml" is encrypted`},
		"a wrong sum":                       {damaged, "CRC check failed"},
		"damaged content":                   {inBody, ""},
		"a method of another program":       {stranger(t, pkg, csv, member{name: "x", content: text, change: func(h *zip.FileHeader) { h.Method = 14 }}), "not supported"},
		"truncated at the end":              {good[:len(good)-10], "not a zip file"},
		"truncated in the middle":           {good[:len(good)/2], "not a zip file"},
		"no bytes":                          {nil, "not a zip file"},
		"the magic of gzip":                 {gzipped(t, "packageName: web"), "not a zip file"},
		"another magic, a directory behind": {append([]byte("\x7fELF"), good[4:]...), ""},
		"a text":                            {[]byte("packageName: web\n"), "not a zip file"},
	}
}

func TestHostileArchivesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	p, alone := startPushService(t, `    max_body = 33554432`)
	pids := p.pids("plugins/omps")
	if len(pids) != 1 {
		t.Fatalf("the plugin is the processes %v", pids)
	}
	good := zipOf(t, operatorFiles("web", "1.0.0"))
	ways := []*pusher{
		alone,
		{t: t, base: p.url + "/omps", client: alone.client, auth: alone.auth},
	}
	if status, answer := ways[0].push("/v2/warm/zipfile", "m.zip", good); status != 200 {
		t.Fatal(status, answer)
	}
	// Of an archive there are at once the body, what grows out of it, and what
	// the collector has not found yet.
	const most = 128 << 20
	for name, c := range hostileUploads(t) {
		t.Run(name, func(t *testing.T) {
			for _, at := range ways {
				for _, path := range []string{"/v2/hostile/zipfile", "/v1/hostile/web/zipfile/1.0.0"} {
					forgetPeak(t, pids[0])
					status, answer := at.push(path, "m.zip", c.archive)
					row := tableRow{status: 400, id: "OMPSUploadedFileError", words: []string{c.words}}
					row.wantFault(t, status, answer)
					if used := peak(t, pids[0]); used > most {
						t.Errorf("the plugin had %d MiB of memory", used>>20)
					}
				}
			}
		})
	}
	t.Run("no package, no repository and no file is there", func(t *testing.T) {
		if _, data := ways[0].do(http.MethodGet, "/cnr/api/v1/packages?namespace=hostile", "", nil); string(data) != "[]" {
			t.Errorf("%s", data)
		}
		if _, data := p.get("/v2/_catalog"); strings.Contains(string(data), "hostile") || !strings.Contains(string(data), "warm") {
			t.Errorf("%s", data)
		}
		for _, dir := range []string{p.dataDir, "/tmp"} {
			for _, pattern := range []string{"evil*", "*/evil*", "*/*/evil*"} {
				if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
					t.Error(found)
				}
			}
		}
	})
	t.Run("the plugin is the same, and works", func(t *testing.T) {
		if now := p.pids("plugins/omps"); fmt.Sprint(now) != fmt.Sprint(pids) {
			t.Errorf("it was %v and is %v", pids, now)
		}
		if status, answer := ways[1].push("/v2/hostile/zipfile", "m.zip", good); status != 200 || answer["version"] != "1.0.0" {
			t.Error(status, answer)
		}
	})
}
