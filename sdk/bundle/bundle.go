package bundle

import (
	"errors"
	"io/fs"
	"os"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

// Bundle is an unpacked bundle. Files are read when they are needed and kept
// in memory; changes reach the disk with Save. A Bundle is not safe for
// concurrent use.
type Bundle struct {
	root        *os.Root
	csvs        []*CSV
	csvsRead    bool
	annotations *file
}

// file is a YAML file of a bundle in memory.
type file struct {
	path  string
	doc   *yamledit.Document
	saved []byte
}

// Open opens the bundle below dir, which must outlive it. The caller closes it.
func Open(dir string) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "open bundle: %w", err)
	}
	return &Bundle{root: root}, nil
}

// Close gives the directory back. Changes that were not saved are lost.
func (b *Bundle) Close() error { return b.root.Close() }

// CSVs returns the bundle's ClusterServiceVersions in the order of their file
// names: none, one or, against the rules of OLM, several. Other manifests are
// not looked into; Check does that.
func (b *Bundle) CSVs() ([]*CSV, error) {
	if b.csvsRead {
		return b.csvs, nil
	}
	var csvs []*CSV
	err := b.manifests(func(path string, data []byte) error {
		if !mayBeCSV(data) {
			return nil
		}
		f, err := parse(path, data)
		if err != nil {
			return err
		}
		if isCSV(f.doc) {
			csvs = append(csvs, &CSV{file: f})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b.csvs, b.csvsRead = csvs, true
	return csvs, nil
}

// Check parses every manifest and returns an error of code Invalid for the
// first that is not a YAML document, has a key twice, or is otherwise nothing
// that a cluster would take.
func (b *Bundle) Check() error {
	return b.manifests(func(path string, data []byte) error {
		f, err := parse(path, data)
		if err != nil {
			return err
		}
		if isCSV(f.doc) && !mayBeCSV(data) {
			return sdk.Errorf(sdk.Invalid, "%s: the kind %s is written with escapes; write it in plain letters", path, kindCSV)
		}
		return nil
	})
}

// Save writes the files that were changed and returns their paths, relative to
// the bundle's directory.
func (b *Bundle) Save() ([]string, error) {
	files := make([]*file, 0, len(b.csvs)+1)
	for _, c := range b.csvs {
		files = append(files, c.file)
	}
	if b.annotations != nil {
		files = append(files, b.annotations)
	}
	var saved []string
	for _, f := range files {
		if !f.changed() {
			continue
		}
		if err := b.write(f.path, f.doc.Bytes()); err != nil {
			return saved, err
		}
		f.saved = f.doc.Bytes()
		saved = append(saved, f.path)
	}
	return saved, nil
}

func parse(path string, data []byte) (*file, error) {
	doc, err := yamledit.Parse(data)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "%s: %v", path, err)
	}
	return &file{path: path, doc: doc, saved: data}, nil
}

func (f *file) changed() bool { return string(f.doc.Bytes()) != string(f.saved) }

// apply makes the changes that wait in the document.
func (f *file) apply() error {
	if err := f.doc.Apply(); err != nil {
		return sdk.Errorf(sdk.Invalid, "%s: change: %v", f.path, err)
	}
	return nil
}

// isMissing reports whether err tells that a file is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
