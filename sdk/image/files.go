package image

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/iib-engine/iib/sdk"
)

// Files are the files of one image as a container would see them: the layers
// on top of each other, deletions and opaque directories honoured, links
// followed within the image. Layers are read when a question needs them, from
// the top, and remembered. It is safe for concurrent use.
type Files struct {
	c    *Client
	info *Info

	mu       sync.Mutex
	counted  map[int]bool
	entries  int
	unpacked int64
}

// Files returns the files of an image that Inspect returned.
func (c *Client) Files(info *Info) *Files { return &Files{c: c, info: info} }

// File is a regular file or a directory of an image.
type File struct {
	// Path is the one asked for; links on it were followed.
	Path string
	Dir  bool
	Size int64
	// Mode are the permission bits.
	Mode int64

	// layer and seq are where the content lies.
	layer int
	seq   int
	// at is Path without links.
	at []string
}

// maxLinks is how many symbolic links may be followed for one path, as in Linux.
const maxLinks = 40

// Stat returns the file or directory at a path from the image's root. It is
// NotFound if there is none, and Invalid if it is neither, or a link that leads
// out of the image.
func (f *Files) Stat(ctx context.Context, name string) (File, error) {
	elems, ok := splitPath(name)
	if !ok {
		return File{}, sdk.Errorf(sdk.Invalid, "image %s: the path %.200q leads out of the image", f.info.Ref, name)
	}
	file, err := f.resolve(ctx, name, elems)
	file.Path = name
	return file, err
}

// List returns the names in a directory, sorted.
func (f *Files) List(ctx context.Context, name string) ([]string, error) {
	dir, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if !dir.Dir {
		return nil, sdk.Errorf(sdk.Invalid, "image %s: %s is not a directory", f.info.Ref, name)
	}
	return f.names(ctx, dir.at)
}

// resolve follows links until it is at a file or directory. asked is for messages.
func (f *Files) resolve(ctx context.Context, asked string, elems []string) (File, error) {
	top := len(f.info.Layers) - 1
	for links := 0; ; links++ {
		if links > maxLinks {
			return File{}, sdk.Errorf(sdk.Invalid, "image %s: %s leads through too many links", f.info.Ref, asked)
		}
		hit, err := f.lookup(ctx, elems, top)
		if err != nil {
			return File{}, err
		}
		switch {
		case hit.node == nil:
			if links > 0 {
				return File{}, sdk.Errorf(sdk.NotFound, "image %s: %s is a link to /%s, which is not there", f.info.Ref, asked, strings.Join(elems, "/"))
			}
			return File{}, sdk.Errorf(sdk.NotFound, "image %s: it has no /%s", f.info.Ref, strings.Join(elems, "/"))
		case hit.node.kind == symlink:
			next, ok := follow(elems, hit.depth, hit.node.link)
			if !ok {
				return File{}, sdk.Errorf(sdk.Invalid, "image %s: %s is a symbolic link to %.200q, which leads out of the image", f.info.Ref, asked, hit.node.link)
			}
			elems = next
		case hit.node.kind == hardlink:
			// Its target is what the path meant in this layer, whatever
			// layers above have made of it.
			elems, _ = splitPath(hit.node.link)
			top = hit.layer
		case hit.node.kind == special:
			return File{}, sdk.Errorf(sdk.Invalid, "image %s: %s is a device or a pipe, not a file", f.info.Ref, asked)
		default:
			return File{
				Dir:   hit.node.kind == directory,
				Size:  hit.node.size,
				Mode:  hit.node.mode & 0o777,
				layer: hit.layer,
				seq:   hit.node.seq,
				at:    elems,
			}, nil
		}
	}
}

// follow returns the path that results when the link at elems[:depth] is
// replaced by its target.
func follow(elems []string, depth int, target string) ([]string, bool) {
	if len(target) > maxPath || target == "" {
		return nil, false
	}
	// Without a leading slash, joining keeps a ".." that leads above the root.
	next := []string{target}
	if !strings.HasPrefix(target, "/") {
		next = append(slices.Clone(elems[:depth-1]), target)
	}
	return splitPath(path.Join(append(next, elems[depth:]...)...))
}

// hit is what a path comes to: the topmost entry that decides about it. If that
// is a symbolic link on the way, depth is the number of elements up to it.
type hit struct {
	node  *node
	layer int
	depth int
}

// lookup finds a path in the layers from top down. It reads no layer below the
// one that decides.
func (f *Files) lookup(ctx context.Context, elems []string, top int) (hit, error) {
	// solid is how many leading elements a layer above has as directories; they
	// hide what else lower layers have in their places.
	solid := 0
	for i := top; i >= 0; i-- {
		t, err := f.layer(ctx, i)
		if err != nil {
			return hit{}, err
		}
		n, hidden := t.root, t.root.opaque
		for depth, name := range elems {
			if n.hidden[name] {
				hidden = true
			}
			child := n.children[name]
			if child == nil {
				n = nil
				break
			}
			at := depth + 1
			if child.kind != directory {
				if at <= solid {
					return hit{}, nil
				}
				if at == len(elems) || child.kind == symlink {
					return hit{child, i, at}, nil
				}
				return hit{}, nil
			}
			solid = max(solid, at)
			hidden = hidden || child.opaque
			n = child
		}
		if n != nil {
			return hit{n, i, len(elems)}, nil
		}
		if hidden {
			return hit{}, nil
		}
	}
	if len(elems) == 0 {
		return hit{node: newDirectory(), layer: -1}, nil
	}
	return hit{}, nil
}

// names lists a directory given by its path without links.
func (f *Files) names(ctx context.Context, elems []string) ([]string, error) {
	var names []string
	gone := make(map[string]bool)
layers:
	for i := len(f.info.Layers) - 1; i >= 0; i-- {
		t, err := f.layer(ctx, i)
		if err != nil {
			return nil, err
		}
		n, hidden := t.root, t.root.opaque
		for _, name := range elems {
			hidden = hidden || n.hidden[name]
			child := n.children[name]
			if child == nil {
				if hidden {
					break layers
				}
				continue layers
			}
			if child.kind != directory {
				break layers
			}
			hidden = hidden || child.opaque
			n = child
		}
		for name := range n.children {
			if !gone[name] {
				gone[name] = true
				names = append(names, name)
			}
		}
		for name := range n.hidden {
			gone[name] = true
		}
		if hidden {
			break
		}
	}
	slices.Sort(names)
	return names, nil
}

// layer returns what a layer contains, and holds the layers that were looked at
// so far against the limits of an image.
func (f *Files) layer(ctx context.Context, i int) (*contents, error) {
	layer := f.info.Layers[i]
	t, err := f.c.contentsOf(ctx, f.info.Ref, layer)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.counted[i] {
		if f.counted == nil {
			f.counted = make(map[int]bool)
		}
		f.counted[i] = true
		f.entries += t.entries
		f.unpacked += t.unpacked
	}
	if f.entries > f.c.limits.Entries {
		return nil, tooManyEntries(f.info.Ref, layer, f.c.limits)
	}
	if f.unpacked > f.c.limits.Total {
		return nil, tooMuchContent(f.info.Ref, layer, f.c.limits)
	}
	return t, nil
}
