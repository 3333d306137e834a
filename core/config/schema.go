package config

// Schema is what may stand in a block: which settings, and which blocks. The
// zero value allows nothing.
type Schema struct {
	Attributes []Attribute
	Blocks     []Block
}

// Type is the type of a setting's value.
type Type string

const (
	String       Type = "string"
	Bool         Type = "bool"
	Int          Type = "int"
	Float        Type = "float"
	Duration     Type = "duration"
	List         Type = "list(string)"
	Map          Type = "map(string)"
	MapMap       Type = "map(map(string))"
	SecretString Type = "secret"
)

// Attribute is one setting.
type Attribute struct {
	Name string
	Type Type
	// Required settings must be written. The value may still be an empty text.
	Required bool
	// Default is what an absent setting means, written as in the file: 5, "5m".
	// Empty is the type's zero value.
	Default string
	// Doc tells in full sentences what the setting is for.
	Doc string

	// form is the rule for the text, or for each text of a list or map.
	form *form
	// oneOf are the texts that are allowed, if not all are.
	oneOf []string
	// refers is the kind of block whose name the text must be.
	refers string
	// least and most bound an Int, unless both are 0.
	least, most int64
	// restart tells that a change does nothing before the next start.
	restart bool
	// hidden texts are secret although the type is List.
	hidden bool
}

// Block is a block in a block.
type Block struct {
	Name string
	// Labels are the names of the block's labels, in order. In the values of a
	// plugin each becomes a key beside the settings.
	Labels []string
	// Multiple allows any number of these blocks; otherwise it is one or none.
	Multiple bool
	// Required demands at least one.
	Required bool
	Doc      string
	Schema

	// unique tells that no two of these blocks in one place have equal labels.
	unique bool
	// variants replace Schema by the block's only label.
	variants []Block
	// open leaves what Schema does not name to a plugin.
	open bool
	// labelForm is the rule for the first label.
	labelForm *form
}

func (s *Schema) attribute(name string) *Attribute {
	for i := range s.Attributes {
		if s.Attributes[i].Name == name {
			return &s.Attributes[i]
		}
	}
	return nil
}

func (s *Schema) block(name string) *Block {
	for i := range s.Blocks {
		if s.Blocks[i].Name == name {
			return &s.Blocks[i]
		}
	}
	return nil
}

func (s *Schema) attributeNames() []string {
	names := make([]string, len(s.Attributes))
	for i, a := range s.Attributes {
		names[i] = a.Name
	}
	return names
}

func (s *Schema) blockNames() []string {
	names := make([]string, len(s.Blocks))
	for i, b := range s.Blocks {
		names[i] = b.Name
	}
	return names
}

func (b *Block) variant(label string) *Block {
	for i := range b.variants {
		if b.variants[i].Name == label {
			return &b.variants[i]
		}
	}
	return nil
}

func (b *Block) variantNames() []string {
	names := make([]string, len(b.variants))
	for i, v := range b.variants {
		names[i] = v.Name
	}
	return names
}
