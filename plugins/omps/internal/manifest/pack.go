package manifest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"path"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/plugins/omps/internal/intake"
)

// leftOut are files of a nested operator that are for the build system only.
var leftOut = map[string]bool{"art.yaml": true, "image-references": true}

// Pack writes the archive that is pushed. Equal files make an equal archive.
func (o *Operator) Pack(repository, release string) ([]byte, error) {
	root := repository + "-" + release
	if !o.nested {
		bundle, err := o.bundle()
		if err != nil {
			return nil, err
		}
		return archive(root, intake.Files{"bundle.yaml": bundle})
	}
	files := make(intake.Files)
	for name, content := range o.files {
		if !leftOut[path.Base(name)] {
			files[name] = content
		}
	}
	return archive(root, files)
}

// archive is a tar of files below one directory, compressed.
func archive(root string, files intake.Files) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	w := tar.NewWriter(compressed)
	made := make(map[string]bool)
	var mkdir func(dir string) error
	mkdir = func(dir string) error {
		if dir == "." || made[dir] {
			return nil
		}
		if err := mkdir(path.Dir(dir)); err != nil {
			return err
		}
		made[dir] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
	}
	if err := mkdir(root); err != nil {
		return nil, err
	}
	for _, name := range files.Paths() {
		content := files[name]
		if err := mkdir(path.Join(root, path.Dir(name))); err != nil {
			return nil, err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(root, name), Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// bundle is the one file of a flat operator: texts that hold YAML lists.
func (o *Operator) bundle() ([]byte, error) {
	v := o.versions[0]
	csvs, err := list(v.csvs)
	if err != nil {
		return nil, err
	}
	crds, err := list(v.crds)
	if err != nil {
		return nil, err
	}
	packages, err := list([]*document{o.pkg})
	if err != nil {
		return nil, err
	}
	data := &yaml.Node{Kind: yaml.MappingNode}
	for _, entry := range []struct{ name, value string }{
		{"clusterServiceVersions", csvs}, {"customResourceDefinitions", crds}, {"packages", packages},
	} {
		key, value := new(yaml.Node), new(yaml.Node)
		key.SetString(entry.name)
		value.SetString(entry.value)
		if entry.value != "" {
			value.Style = yaml.LiteralStyle
		}
		data.Content = append(data.Content, key, value)
	}
	key := new(yaml.Node)
	key.SetString("data")
	return encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, data}})
}

// list writes documents as one YAML list, "" for none.
func list(documents []*document) (string, error) {
	if len(documents) == 0 {
		return "", nil
	}
	all := &yaml.Node{Kind: yaml.SequenceNode}
	for _, d := range documents {
		top := d.node.Content[0]
		bare(top, make(map[*yaml.Node]bool))
		for _, keys := range [][]string{{"spec", "description"}, {"metadata", "annotations", "alm-examples"}} {
			node := top
			for _, key := range keys {
				node = child(node, key)
			}
			if d.kind() == "ClusterServiceVersion" && node != nil && node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
				node.Style = yaml.LiteralStyle
			}
		}
		all.Content = append(all.Content, top)
	}
	out, err := encode(all)
	return string(out), err
}

// bare takes the comments away.
func bare(node *yaml.Node, seen map[*yaml.Node]bool) {
	if node == nil || seen[node] {
		return
	}
	seen[node] = true
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	for _, below := range node.Content {
		bare(below, seen)
	}
}
