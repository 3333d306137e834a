// Package image reads and writes container images in registries, without a
// container runtime and without root.
//
// A [Client] resolves pull specs, inspects images, reads files out of their
// layers, assembles new images from a base and finished layers, pushes blobs,
// manifests and lists, copies images between repositories and registries, and
// moves tags. What it reads is kept in a content-addressed cache, so that a
// warm engine reads nothing twice.
//
// Everything that a registry sends is taken for hostile. Documents are bounded
// before they are read and verified by digest; the files of an image are looked
// up in a model of its layers, in memory, in which links cannot leave the image,
// and only regular files and directories are ever written to disk, through an
// [os.Root].
//
// Errors carry a code of package sdk. NotFound, Denied and Invalid are final and
// returned at once; what may pass (429, 5xx, resets, time-outs, truncated or
// corrupted content) is tried again with growing waits, and is Unavailable in
// the end. A cancelled context is returned as such.
//
// The protocol is spoken here rather than through a library's client, because
// only so can limits, resumed downloads, bytes sent, and the one-upload-at-a-time
// rule that some registries need be kept; authentication is
// go-containerregistry's.
package image
