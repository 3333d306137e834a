package api

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/iib-engine/iib/core"
	"github.com/iib-engine/iib/sdk"
)

// openapiBase is what the API has whatever plugins there are.
//
//go:embed openapi.json
var openapiBase []byte

type object = map[string]any

// openapi is GET /openapi.json: the OpenAPI document of what the roster offers
// at this moment.
func (s *server) openapi(w http.ResponseWriter, _ *http.Request) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeJSON(w, http.StatusOK, document)
	return nil
}

// openapiYAML is the same at the address that IIB has it: JSON is YAML.
func (s *server) openapiYAML(w http.ResponseWriter, _ *http.Request) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode the OpenAPI document: %v", err)
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(data)
	return nil
}

// document adds to the base what each request type has of its own.
func (s *server) document() (object, error) {
	var document object
	if err := json.Unmarshal(openapiBase, &document); err != nil {
		return nil, sdk.Errorf(sdk.Internal, "decode the OpenAPI document: %v", err)
	}
	document["info"].(object)["version"] = s.Version
	paths, schemas := document["paths"].(object), document["components"].(object)["schemas"].(object)
	lineup, release := s.Roster.Acquire()
	defer release()
	examples := make(map[string]object)
	var any, verbose []object
	for _, h := range lineup.Handlers() {
		name := schemaName(h.Type)
		schemas[name+"Request"] = submissionSchema(&h)
		schemas[name] = buildSchema(&h, false)
		schemas["Verbose"+name] = buildSchema(&h, true)
		any = append(any, ref(name), ref("Verbose"+name))
		verbose = append(verbose, ref("Verbose"+name))
		examples[h.Type] = submissionExample(&h)
		paths["/api/v1/builds/"+h.Type] = object{"post": submissionOperation(&h, examples[h.Type])}
		for _, a := range h.Doc.Artifacts {
			paths["/api/v1/builds/{id}/"+a.Path] = object{"get": artifactOperation(&h, a)}
		}
		addReports(schemas["Report"].(object), &h)
	}
	// A request whose plugin is gone is shown with what is stored of it.
	orphan := object{"type": "object", "required": []string{"id", "request_type", "state"}, "properties": object{
		"request_type": object{"not": object{"enum": typesOf(lineup)}}, "error": false,
	}}
	schemas["Build"] = object{"anyOf": append(any, orphan)}
	schemas["VerboseBuild"] = object{"anyOf": append(verbose, orphan)}
	addBatchExamples(paths, examples)
	return document, nil
}

func typesOf(lineup core.Lineup) []string {
	types := []string{}
	for _, h := range lineup.Handlers() {
		types = append(types, h.Type)
	}
	return types
}

// schemaName turns a request type into a name: add-rm is AddRm.
func schemaName(requestType string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(requestType, "-") {
		if part != "" {
			name.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return name.String() + "Build"
}

func ref(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }

// described is a plugin's schema with its explanation. One that is not JSON is
// left out: the plugin's mistake must not take the document from everybody.
func described(schema json.RawMessage, doc string) object {
	var own object
	if json.Unmarshal(schema, &own) != nil || own == nil {
		own = object{}
	}
	if doc != "" {
		own["description"] = doc
	}
	return own
}

func submissionSchema(h *core.HandlerType) object {
	properties, required := object{}, []string{}
	for _, p := range h.Doc.Params {
		property := described(p.Schema, p.Doc)
		if p.Secret {
			property["writeOnly"] = true
		}
		properties[p.Name] = property
		if p.Required {
			required = append(required, p.Name)
		}
	}
	schema := object{"type": "object", "properties": properties}
	if len(h.Doc.Params) > 0 {
		schema["additionalProperties"] = false
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// submissionExample is a request with all parameters that have an example.
func submissionExample(h *core.HandlerType) object {
	example := object{}
	for _, p := range h.Doc.Params {
		if len(p.Example) > 0 && json.Valid(p.Example) {
			example[p.Name] = p.Example
		}
	}
	return example
}

// buildSchema describes a request's representation (API contract, section 3).
func buildSchema(h *core.HandlerType, verbose bool) object {
	properties := object{
		"id": object{"type": "integer", "minimum": 1}, "request_type": object{"const": h.Type},
		"batch": object{"type": "integer", "minimum": 1}, "user": object{"type": []string{"string", "null"}},
		"arches": object{"type": "array", "items": object{"type": "string"}},
		"state":  ref("State"), "state_reason": object{"type": "string"}, "updated": ref("Time"),
	}
	required := []string{"id", "request_type", "batch", "user", "arches", "state", "state_reason", "updated"}
	if verbose {
		properties["batch_annotations"] = object{"type": []string{"object", "null"}}
		properties["state_history"] = object{"type": "array", "minItems": 1, "items": ref("StateEntry"), "description": "Newest first."}
		properties["logs"] = ref("File")
		required = append(required, "batch_annotations", "state_history")
	}
	for _, f := range h.Doc.Fields {
		if !f.Hidden {
			properties[f.Name] = described(f.Schema, f.Doc)
		}
	}
	for _, a := range h.Doc.Artifacts {
		switch {
		case a.Field == "":
			continue
		case a.Parameter:
			properties[a.Field] = object{"type": "string", "format": "uri"}
		default:
			properties[a.Field] = ref("File")
		}
		required = append(required, a.Field)
	}
	return object{"type": "object", "description": h.Doc.Summary, "properties": properties, "required": required, "additionalProperties": false}
}

func submissionOperation(h *core.HandlerType, example object) object {
	name := schemaName(h.Type)
	fault := object{"$ref": "#/components/responses/Error"}
	parameters := []object{{"$ref": "#/components/parameters/key"}}
	responses := object{
		"201": object{"description": "The request was accepted.", "content": object{"application/json": object{"schema": ref("Verbose" + name)}}},
		"400": fault, "401": fault, "403": fault, "409": fault, "413": fault, "415": fault, "429": fault,
	}
	if h.Previews {
		parameters = append(parameters, object{"$ref": "#/components/parameters/dryRun"})
		responses["200"] = object{"description": "What would change.", "content": object{"application/json": object{"schema": ref("Preview")}}}
	}
	return object{
		"tags": []string{"submit"}, "operationId": "submit" + name, "summary": h.Doc.Summary, "x-iib-plugin": h.Plugin,
		"parameters": parameters, "responses": responses,
		"requestBody": object{"required": true, "content": object{"application/json": object{"schema": ref(name + "Request"), "example": example}}},
	}
}

func artifactOperation(h *core.HandlerType, a sdk.ArtifactDoc) object {
	fault := object{"$ref": "#/components/responses/Error"}
	responses := object{
		"200": object{"description": "The artifact.", "content": object{a.ContentType: object{"schema": object{}}}},
		"400": fault, "404": fault,
	}
	if !a.Parameter {
		responses["410"], responses["500"] = fault, fault
	}
	return object{
		"tags": []string{"read"}, "operationId": "get" + schemaName(h.Type) + schemaName(a.Path), "x-iib-plugin": h.Plugin,
		"summary":    "Read " + strings.ReplaceAll(a.Name, "_", " ") + " of a request of type " + h.Type + ".",
		"parameters": []object{{"name": "id", "in": "path", "required": true, "schema": object{"type": "integer", "minimum": 1}}}, "responses": responses,
	}
}

// addReports adds the fields that an outside worker may report about a type.
func addReports(report object, h *core.HandlerType) {
	properties := report["properties"].(object)
	for _, f := range h.Doc.Fields {
		switch f.Shape {
		case sdk.ShapeNone:
		case sdk.ShapeJSONText:
			properties[f.Name] = object{"type": "string", "minLength": 1, "description": f.Doc + " The text of a JSON object."}
		case sdk.ShapeIgnored:
			properties[f.Name] = object{"description": "Without effect."}
		default:
			property := described(f.Schema, f.Doc)
			if f.Shape == sdk.ShapeText || f.Shape == sdk.ShapeImage {
				property["type"] = "string"
			}
			properties[f.Name] = property
		}
	}
}

// addBatchExamples makes the batches' examples of those of their items; a batch
// whose items nobody handles is left out.
func addBatchExamples(paths object, examples map[string]object) {
	for path, types := range map[string][]string{"add-rm-batch": {"rm", "add"}, "regenerate-bundle-batch": {"regenerate-bundle"}} {
		var items []object
		for _, requestType := range types {
			if example, ok := examples[requestType]; ok {
				items = append(items, example)
			}
		}
		operation := paths["/api/v1/builds/"+path].(object)["post"].(object)
		if len(items) < len(types) {
			delete(paths, "/api/v1/builds/"+path)
			continue
		}
		media := operation["requestBody"].(object)["content"].(object)["application/json"].(object)
		media["example"] = object{"build_requests": items, "annotations": object{"release": "2026-11"}}
		fault := object{"$ref": "#/components/responses/Error"}
		responses := operation["responses"].(object)
		for _, status := range []string{"400", "401", "403", "409", "413", "415", "429"} {
			responses[status] = fault
		}
	}
}
