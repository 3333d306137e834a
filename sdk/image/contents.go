package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/gob"
	"io"
	"math"
	"path"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// contents is what a layer says about the files of an image: a tree of what it
// adds and what it hides of the layers below. It is made once per layer and
// never changes, so that it may be shared and kept.
type contents struct {
	root *node
	// entries and unpacked are what the limits are held against.
	entries  int
	unpacked int64
}

// node is a file or directory of one layer.
type node struct {
	kind     kind
	children map[string]*node
	// hidden are names in this directory that lower layers have and the image
	// has not; opaque hides all of them.
	hidden map[string]bool
	opaque bool

	// seq is the position of the entry in the archive, -1 for a directory that
	// has no entry of its own.
	seq  int
	mode int64
	size int64
	// link is the target of a link, as it stands in the archive.
	link string
}

type kind uint8

const (
	directory kind = iota
	regular
	symlink
	hardlink
	// special is a device, a pipe, or something that is none of the above.
	special
)

func newDirectory() *node { return &node{kind: directory, seq: -1, mode: 0o755} }

// maxPath is PATH_MAX of Linux.
const maxPath = 4096

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// whiteoutMeta are names that union file systems keep for themselves.
	whiteoutMeta = ".wh..wh."
)

// splitPath splits an archive's or a caller's path into its elements, none of
// which is ".." or empty. A leading slash is the image's root, as everywhere in
// an image. ok is false for a path that leads out of the root.
func splitPath(name string) (elems []string, ok bool) {
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return nil, false
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == ".":
		return nil, true
	case clean == "..", strings.HasPrefix(clean, "../"):
		return nil, false
	}
	return strings.Split(clean, "/"), true
}

// add takes in one entry of the archive. It fails on names that lead out of the
// image: no tool that means well makes them.
func (c *contents) add(hdr *tar.Header) error {
	seq := c.entries
	c.entries++
	// A sparse file may claim any size.
	c.unpacked += min(max(hdr.Size, 0), math.MaxInt64-c.unpacked)
	elems, ok := splitPath(hdr.Name)
	if !ok {
		return sdk.Errorf(sdk.Invalid, "the entry %.200q leads out of the image", hdr.Name)
	}
	n := &node{seq: seq, mode: hdr.Mode, size: hdr.Size}
	switch hdr.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		n.kind = directory
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse: //nolint:staticcheck // old archives have TypeRegA
		n.kind = regular
	case tar.TypeSymlink:
		n.kind, n.link = symlink, hdr.Linkname
	case tar.TypeLink:
		n.kind, n.link = hardlink, hdr.Linkname
		if _, ok := splitPath(hdr.Linkname); !ok {
			return sdk.Errorf(sdk.Invalid, "the entry %.200q is a hard link to %.200q, which leads out of the image", hdr.Name, hdr.Linkname)
		}
	default:
		n.kind = special
	}
	if len(elems) == 0 {
		if n.kind == directory {
			c.root.seq, c.root.mode = seq, n.mode
		}
		return nil
	}
	parent := c.root.descend(elems[:len(elems)-1])
	name := elems[len(elems)-1]
	switch {
	case name == whiteoutOpaque:
		parent.opaque = true
	case strings.HasPrefix(name, whiteoutMeta):
	case strings.HasPrefix(name, whiteoutPrefix):
		if parent.hidden == nil {
			parent.hidden = make(map[string]bool)
		}
		parent.hidden[strings.TrimPrefix(name, whiteoutPrefix)] = true
	default:
		parent.put(name, n)
	}
	return nil
}

// descend returns the directory at a path, making directories on the way as
// runtimes do. Where a file or link is in the way the directory replaces it:
// an entry is never reached through a link of its own layer.
func (n *node) descend(elems []string) *node {
	for _, name := range elems {
		child := n.children[name]
		if child == nil || child.kind != directory {
			child = newDirectory()
			n.put(name, child)
		}
		n = child
	}
	return n
}

func (n *node) put(name string, child *node) {
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	old := n.children[name]
	switch {
	case old == nil || child.kind != directory:
	case old.kind == directory:
		// A second entry for a directory changes its mode and keeps its files.
		old.seq, old.mode = child.seq, child.mode
		return
	default:
		// The file that was here for a moment has hidden what is below.
		child.opaque = true
	}
	n.children[name] = child
}

// contentsOf returns what a layer contains, from memory, from the cache, or by
// reading the layer.
func (c *Client) contentsOf(ctx context.Context, ref Ref, layer Layer) (*contents, error) {
	t, ok := c.contents.get(layer.Digest)
	if !ok {
		if t, ok = c.cachedContents(layer.Digest); !ok {
			var err error
			if t, err = c.readContents(ctx, ref, layer); err != nil {
				return nil, err
			}
		}
		c.contents.put(layer.Digest, t, int64(t.entries)+1)
	}
	return t, nil
}

func tooManyEntries(ref Ref, layer Layer, limits Limits) error {
	return sdk.Errorf(sdk.Invalid, "%s: the image has more than %d files, which is the limit", layerSubject(ref, layer), limits.Entries)
}

func tooMuchContent(ref Ref, layer Layer, limits Limits) error {
	return sdk.Errorf(sdk.Invalid, "%s: the image unpacks to more than %d bytes, which is the limit", layerSubject(ref, layer), limits.Total)
}

func (c *Client) readContents(ctx context.Context, ref Ref, layer Layer) (*contents, error) {
	var t *contents
	err := c.attempt(ctx, layerSubject(ref, layer), func(ctx context.Context) error {
		t = &contents{root: newDirectory()}
		return c.walk(ctx, ref, layer, func(hdr *tar.Header, _ io.Reader) error {
			if err := t.add(hdr); err != nil {
				return sdk.Errorf(sdk.Invalid, "%s: %w", layerSubject(ref, layer), err)
			}
			if t.entries > c.limits.Entries {
				return tooManyEntries(ref, layer, c.limits)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	c.cacheContents(layer.Digest, t)
	return t, nil
}

// storedNode is a node in the cache: gob leaves unexported fields out.
type storedNode struct {
	Name   string
	Kind   kind
	Opaque bool
	Hidden []string
	Seq    int
	Mode   int64
	Size   int64
	Link   string
	// Children is the number of nodes that follow and belong to this one,
	// their own children between them.
	Children int
}

type storedContents struct {
	Version  int
	Entries  int
	Unpacked int64
	Nodes    []storedNode
}

// contentsVersion is raised when the meaning of what is stored changes.
const contentsVersion = 1

func (c *Client) cacheContents(layer sdk.Digest, t *contents) {
	if c.cache.dir == "" {
		return
	}
	stored := storedContents{Version: contentsVersion, Entries: t.entries, Unpacked: t.unpacked}
	stored.Nodes = flatten(stored.Nodes, "", t.root)
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(stored); err != nil {
		return
	}
	check := sum(b.Bytes())
	b.WriteString(string(check))
	c.cache.writeKind(tables, layer, b.Bytes())
}

func flatten(nodes []storedNode, name string, n *node) []storedNode {
	s := storedNode{Name: name, Kind: n.kind, Opaque: n.opaque, Seq: n.seq, Mode: n.mode, Size: n.size, Link: n.link, Children: len(n.children)}
	for h := range n.hidden {
		s.Hidden = append(s.Hidden, h)
	}
	nodes = append(nodes, s)
	for name, child := range n.children {
		nodes = flatten(nodes, name, child)
	}
	return nodes
}

// maxStoredContents bounds what is read back; a table takes some 50 bytes an entry.
const maxStoredContents = 256 << 20

func (c *Client) cachedContents(layer sdk.Digest) (*contents, bool) {
	f, ok := c.cache.open(tables, layer)
	if !ok {
		return nil, false
	}
	defer f.Close()
	data, fits, err := readBounded(f, maxStoredContents)
	split := len(data) - len(digestPrefix) - 64
	if err != nil || !fits || split < 0 || sum(data[:split]) != sdk.Digest(data[split:]) {
		return nil, false
	}
	var stored storedContents
	if err := gob.NewDecoder(bytes.NewReader(data[:split])).Decode(&stored); err != nil || stored.Version != contentsVersion || len(stored.Nodes) == 0 {
		return nil, false
	}
	t := &contents{entries: stored.Entries, unpacked: stored.Unpacked}
	t.root, _ = unflatten(stored.Nodes)
	return t, true
}

func unflatten(nodes []storedNode) (*node, []storedNode) {
	s, rest := nodes[0], nodes[1:]
	n := &node{kind: s.Kind, opaque: s.Opaque, seq: s.Seq, mode: s.Mode, size: s.Size, link: s.Link}
	for _, h := range s.Hidden {
		if n.hidden == nil {
			n.hidden = make(map[string]bool, len(s.Hidden))
		}
		n.hidden[h] = true
	}
	if s.Children > 0 {
		n.children = make(map[string]*node, s.Children)
	}
	for range s.Children {
		name := rest[0].Name
		n.children[name], rest = unflatten(rest)
	}
	return n, rest
}
