package servecache

import (
	"io/fs"

	"github.com/iib-engine/iib/sdk"
)

// Format is how a cache is laid out. Its text is what opm calls it.
type Format string

const (
	// Pogreb is what opm from v1.41 on prefers: one database file.
	Pogreb Format = "pogreb.v1"
	// JSON is what every opm reads: one file for each bundle of a channel.
	// opm serves large catalogs badly from it, because it opens all files at
	// once.
	JSON Format = "json"
	// None is no cache: opm makes one at each start.
	None Format = "none"
)

// ParseFormat reads a format's name. The empty name is Pogreb.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case "":
		return Pogreb, nil
	case Pogreb, JSON, None:
		return f, nil
	}
	return "", sdk.Errorf(sdk.Invalid, "serve cache format %q: use %s, %s or %s", name, Pogreb, JSON, None)
}

// dirMode and fileMode are opm's own. Whoever serves the cache is in group 0,
// and writes to it if it is pogreb.
func (f Format) dirMode() fs.FileMode {
	if f == JSON {
		return 0o750
	}
	return 0o770
}

func (f Format) fileMode() fs.FileMode {
	if f == JSON {
		return 0o640
	}
	return 0o660
}

// encoding is what a format makes of a package.
func (f Format) encoding() encoding {
	if f == JSON {
		return jsonEncoding{}
	}
	return pogrebEncoding{}
}
