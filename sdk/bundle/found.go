package bundle

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/iib-engine/iib/sdk/bundle/internal/yamledit"
)

// Found is a pull spec at one of the places of a CSV where an image is
// expected.
type Found struct {
	// Name is what spec.relatedImages calls the image; empty if the place has
	// no name to offer.
	Name string
	// Image is the pull spec as it is written.
	Image string
	// Where describes the place, such as "container manager".
	Where string
	// Line is the line in the file, from 1.
	Line int

	// node has the text, and part says which bytes of its value are Image.
	node *yaml.Node
	part [2]int
}

// PullSpecs returns what the CSV has at the places where an image is expected,
// in this order: relatedImages; the containerImage of every annotations
// object; containers; initContainers; RELATED_IMAGE_ variables of containers,
// then of initContainers; and, from the last to the first, what looks like a
// pull spec in any other annotation. A pull spec that is at several places is
// returned for each of them.
func (c *CSV) PullSpecs() ([]Found, error) {
	related, err := c.relatedImages()
	if err != nil {
		return nil, err
	}
	annotations := annotationObjects(c.doc.Root())
	known, guessed := c.annotationSpecs(annotations)
	containers, env, err := c.containers("containers", "container")
	if err != nil {
		return nil, err
	}
	initContainers, initEnv, err := c.containers("initContainers", "init container")
	if err != nil {
		return nil, err
	}
	slices.Reverse(guessed)
	return slices.Concat(related, known, containers, initContainers, env, initEnv, guessed), nil
}

func (c *CSV) relatedImages() ([]Found, error) {
	var found []Found
	for _, item := range items(descend(c.doc.Root(), "spec", "relatedImages")) {
		f, err := c.named(item, "related image", "image")
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

// containers returns the images of the containers under a key of every
// deployment's pod, and those in their variables.
func (c *CSV) containers(key, what string) (images, env []Found, err error) {
	for _, deployment := range items(descend(c.doc.Root(), "spec", "install", "spec", "deployments")) {
		for _, container := range items(descend(deployment, "spec", "template", "spec", key)) {
			f, err := c.named(container, what, "image")
			if err != nil {
				return nil, nil, err
			}
			images = append(images, f)
			for _, variable := range items(child(container, "env")) {
				f, ok, err := c.variable(variable)
				if err != nil {
					return nil, nil, err
				}
				if ok {
					env = append(env, f)
				}
			}
		}
	}
	return images, env, nil
}

// named returns the image of an object that has a name too.
func (c *CSV) named(object *yaml.Node, what, key string) (Found, error) {
	where := what
	name := text(child(object, "name"))
	if name != "" {
		where += " " + name
	}
	image := child(object, key)
	switch {
	case image == nil || yamledit.IsNull(image) || image.Kind == yaml.ScalarNode && image.Value == "":
		return Found{}, c.errorf(object, "%s has no %s", where, key)
	case !yamledit.IsText(image):
		return Found{}, c.errorf(image, "the %s of %s is not text", key, where)
	}
	return whole(name, where, image), nil
}

const relatedImagePrefix = "RELATED_IMAGE_"

// variable returns the image in an environment variable that is there to name
// one. A variable without a value names none.
func (c *CSV) variable(variable *yaml.Node) (Found, bool, error) {
	name := text(child(variable, "name"))
	suffix, ok := strings.CutPrefix(name, relatedImagePrefix)
	if !ok {
		return Found{}, false, nil
	}
	if child(variable, "valueFrom") != nil {
		return Found{}, false, c.errorf(variable,
			"%s takes its value from elsewhere (valueFrom); an image must be given as its value", name)
	}
	value := child(variable, "value")
	if value == nil || yamledit.IsNull(value) || value.Kind == yaml.ScalarNode && value.Value == "" {
		return Found{}, false, nil
	}
	if !yamledit.IsText(value) {
		return Found{}, false, c.errorf(value, "the value of %s is not text", name)
	}
	return whole(strings.ToLower(suffix), "variable "+name, value), true, nil
}

// containerImage is the annotation whose value is a pull spec as a whole.
const containerImage = "containerImage"

// annotationSpecs returns the pull specs of containerImage annotations, and
// those that other annotations seem to contain, in the order of the file.
func (c *CSV) annotationSpecs(objects []*yaml.Node) (known, guessed []Found) {
	for _, object := range objects {
		for key, value := range pairs(object) {
			if !yamledit.IsText(value) || value.Value == "" {
				continue
			}
			if key == containerImage {
				f := whole("", key+" annotation", value)
				f.Name = annotationName(f.Image)
				known = append(known, f)
				continue
			}
			for _, part := range guess(value.Value) {
				image := value.Value[part[0]:part[1]]
				guessed = append(guessed, Found{
					Name: annotationName(image), Image: image, Where: key + " annotation",
					Line: value.Line, node: value, part: part,
				})
			}
		}
	}
	return known, guessed
}

// annotationName is what relatedImages calls an image that only an annotation
// names.
func annotationName(image string) string {
	s := ParsePullSpec(image)
	return s.Repo + "-" + strings.TrimPrefix(s.Tag, "sha256:") + "-annotation"
}

func whole(name, where string, node *yaml.Node) Found {
	return Found{
		Name: name, Image: node.Value, Where: where,
		Line: node.Line, node: node, part: [2]int{0, len(node.Value)},
	}
}

// text returns the value of a text node, "" for anything else.
func text(n *yaml.Node) string {
	if n == nil || !yamledit.IsText(n) {
		return ""
	}
	return n.Value
}

// annotationObjects returns every metadata.annotations of a document that is a
// mapping, but for those inside another metadata. An object that several
// aliases stand for is returned once.
func annotationObjects(root *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	visited := make(map[*yaml.Node]bool)
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		if n = resolve(n); n == nil || n.Kind == yaml.ScalarNode || visited[n] {
			return
		}
		visited[n] = true
		if n.Kind == yaml.SequenceNode {
			for _, item := range n.Content {
				visit(item)
			}
			return
		}
		if a := descend(n, "metadata", "annotations"); a != nil && a.Kind == yaml.MappingNode && !slices.Contains(found, a) {
			found = append(found, a)
		}
		for key, value := range pairs(n) {
			if key != "metadata" {
				visit(value)
			}
		}
	}
	visit(root)
	return found
}
