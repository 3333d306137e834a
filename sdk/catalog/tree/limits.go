package tree

import "github.com/iib-engine/iib/sdk"

// Limits bound a catalog. The zero value of a field means its default, which
// is far from what real catalogs need and from what a worker cannot bear.
type Limits struct {
	// Files is the number of files and directories, 100,000 by default.
	Files int
	// FileSize is the size of one file in bytes, 1 GiB by default; TotalSize
	// of all of them, 4 GiB by default.
	FileSize, TotalSize int64
	// MetaSize is the size of one JSON meta, 64 MiB by default. It is what has
	// to fit into memory.
	MetaSize int64
	// DocumentSize is the size of one YAML document, and of what its aliases
	// expand to; 16 MiB by default.
	DocumentSize int64
	// Depth is the nesting of objects and arrays, 500 by default.
	Depth int
}

func (l Limits) withDefaults() Limits {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&l.FileSize, 1<<30)
	set(&l.TotalSize, 4<<30)
	set(&l.MetaSize, 64<<20)
	set(&l.DocumentSize, 16<<20)
	if l.Files == 0 {
		l.Files = 100_000
	}
	if l.Depth == 0 {
		l.Depth = 500
	}
	return l
}

// ignoreSize bounds an .indexignore file, whose every line is matched against
// every file.
const ignoreSize = 64 << 10

// invalid is the error for a catalog that nobody could serve.
func invalid(format string, args ...any) error {
	return sdk.Errorf(sdk.Invalid, "catalog "+format, args...)
}
