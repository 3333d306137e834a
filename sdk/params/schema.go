package params

import "encoding/json"

// JSON Schemas of the shapes that parameters and fields have most often.
var (
	SchemaText       = json.RawMessage(`{"type":"string"}`)
	SchemaTextOrNull = json.RawMessage(`{"type":["string","null"]}`)
	SchemaTexts      = json.RawMessage(`{"type":"array","items":{"type":"string"}}`)
	SchemaBool       = json.RawMessage(`{"type":"boolean"}`)
	SchemaBoolOrNull = json.RawMessage(`{"type":["boolean","null"]}`)
	SchemaTextMap    = json.RawMessage(`{"type":"object","additionalProperties":{"type":"string"}}`)
	SchemaMapping    = json.RawMessage(`{"type":"object","additionalProperties":{"type":"array","items":{"type":"string"}}}`)
	SchemaObject     = json.RawMessage(`{"type":"object"}`)
)
