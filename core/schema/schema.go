// Package schema judges submissions by the JSON Schemas with which a handler
// describes its parameters: for handlers that do not judge them themselves.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/iib-engine/iib/sdk"
)

// Judge applies a handler's description to a submission as an Accept would: no
// required parameter may be missing and none unknown, each has to satisfy its
// schema, secrets are set apart, and fields of a parameter's name show its
// value. Other fields are null, if their schema allows that. A description
// without parameters admits every object.
func Judge(doc *sdk.HandlerDoc, sub *sdk.Submission) error {
	if len(doc.Params) == 0 {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(sub.Body, &given); err != nil || given == nil {
		return sdk.Errorf(sdk.Invalid, "the body must be a JSON object")
	}
	if err := checkNames(doc, given); err != nil {
		return err
	}
	for _, p := range doc.Params {
		value, ok := given[p.Name]
		if !ok {
			continue
		}
		if err := check(p.Name, p.Schema, value, p.Secret); err != nil {
			return err
		}
		if p.Secret {
			setApart(sub, p.Name, value)
			delete(given, p.Name)
		}
	}
	params, err := json.Marshal(given)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "encode the parameters: %v", err)
	}
	sub.Params = params
	for _, f := range doc.Fields {
		value, ok := given[f.Name]
		if !ok {
			value = json.RawMessage("null")
			if check(f.Name, f.Schema, value, false) != nil {
				continue
			}
		}
		if sub.Fields == nil {
			sub.Fields = make(map[string]json.RawMessage)
		}
		sub.Fields[f.Name] = value
	}
	return nil
}

// checkNames refuses missing and unknown parameters, all of them at once.
func checkNames(doc *sdk.HandlerDoc, given map[string]json.RawMessage) error {
	var known, missing, unknown []string
	for _, p := range doc.Params {
		known = append(known, p.Name)
		if _, ok := given[p.Name]; p.Required && !ok {
			missing = append(missing, p.Name)
		}
	}
	if len(missing) > 0 {
		return sdk.FieldErrorf(missing[0], "required parameters are missing: %s", strings.Join(missing, ", "))
	}
	for name := range given {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		slices.Sort(known)
		return sdk.FieldErrorf(unknown[0], "unknown parameters: %s; this endpoint knows %s", strings.Join(unknown, ", "), strings.Join(known, ", "))
	}
	return nil
}

// setApart keeps a secret parameter for the job alone.
func setApart(sub *sdk.Submission, name string, value json.RawMessage) {
	text := string(value)
	_ = json.Unmarshal(value, &text)
	if sub.Secrets == nil {
		sub.Secrets = make(map[string]sdk.Secret)
	}
	sub.Secrets[name] = sdk.Secret(text)
}

// check judges one value. What a library says of a secret may have it, and is
// left out.
func check(name string, schema, value json.RawMessage, secret bool) error {
	if len(schema) == 0 {
		return nil
	}
	compiled, err := compile(string(schema))
	if err != nil {
		return sdk.Errorf(sdk.Internal, "the schema of parameter %s: %v", name, err)
	}
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return sdk.FieldErrorf(name, "%s is not well-formed JSON", name)
	}
	err = compiled.Validate(decoded)
	var fault *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case secret || !errors.As(err, &fault):
		return sdk.FieldErrorf(name, "%s does not have the form that this endpoint documents", name)
	}
	return sdk.FieldErrorf(name, "%s: %s", name, tell(fault))
}

var printer = message.NewPrinter(language.English)

// tell returns the innermost reasons of a fault, with their places in the value.
func tell(fault *jsonschema.ValidationError) string {
	if len(fault.Causes) == 0 {
		if _, ok := fault.ErrorKind.(*kind.FalseSchema); ok {
			return "it must not be given"
		}
		text := fault.ErrorKind.LocalizedString(printer)
		if len(fault.InstanceLocation) > 0 {
			return "at " + strings.Join(fault.InstanceLocation, ".") + ": " + text
		}
		return text
	}
	var texts []string
	for _, cause := range fault.Causes {
		texts = append(texts, tell(cause))
	}
	return strings.Join(texts, "; ")
}

// compiled are the schemas by their text: as many as the plugins describe.
var compiled sync.Map

func compile(text string) (*jsonschema.Schema, error) {
	if known, ok := compiled.Load(text); ok {
		return known.(*jsonschema.Schema), nil
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(nothingElse{})
	if err := compiler.AddResource("iib:parameter", document); err != nil {
		return nil, err
	}
	schema, err := compiler.Compile("iib:parameter")
	if err != nil {
		return nil, err
	}
	compiled.Store(text, schema)
	return schema, nil
}

// nothingElse keeps schemas from having files and addresses read.
type nothingElse struct{}

func (nothingElse) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema cannot refer to %s: only to its own parts", url)
}
