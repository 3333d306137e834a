package koji

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds how deep values may lie in each other.
const maxDepth = 64

// rpcFault is what a hub answers when it refuses.
type rpcFault struct {
	Code int64
	Text string
}

func (f *rpcFault) Error() string { return fmt.Sprintf("the hub says: %.500s", f.Text) }

// encodeCall writes a call with positional parameters: texts and numbers.
func encodeCall(method string, params ...any) []byte {
	var out bytes.Buffer
	out.WriteString(xml.Header + "<methodCall><methodName>")
	_ = xml.EscapeText(&out, []byte(method))
	out.WriteString("</methodName><params>")
	for _, p := range params {
		out.WriteString("<param><value>")
		switch p := p.(type) {
		case int64:
			fmt.Fprintf(&out, "<int>%d</int>", p)
		default:
			out.WriteString("<string>")
			_ = xml.EscapeText(&out, []byte(fmt.Sprint(p)))
			out.WriteString("</string>")
		}
		out.WriteString("</value></param>")
	}
	out.WriteString("</params></methodCall>\n")
	return out.Bytes()
}

var errForm = errors.New("the hub's answer is no XML-RPC")

// decodeAnswer returns the one value of an answer: nil, string, int64, float64,
// bool, []any or map[string]any.
func decodeAnswer(r io.Reader) (any, error) {
	d := &decoder{xml.NewDecoder(r)}
	inFault := false
	for {
		token, err := d.Token()
		if err != nil {
			return nil, errForm
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "fault":
			inFault = true
		case "value":
			value, err := d.value(0)
			if err != nil {
				return nil, err
			}
			if !inFault {
				return value, nil
			}
			members, _ := value.(map[string]any)
			f := new(rpcFault)
			f.Code, _ = members["faultCode"].(int64)
			f.Text, _ = members["faultString"].(string)
			return nil, f
		}
	}
}

type decoder struct{ *xml.Decoder }

// value reads what is in a value element, up to its end.
func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: its values lie too deep in each other", errForm)
	}
	var text strings.Builder
	var value any
	typed := false
	for {
		token, err := d.Token()
		if err != nil {
			return nil, errForm
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if !typed {
				return text.String(), nil
			}
			return value, nil
		case xml.StartElement:
			typed = true
			if value, err = d.typed(t.Name.Local, depth); err != nil {
				return nil, err
			}
		}
	}
}

func (d *decoder) typed(kind string, depth int) (any, error) {
	switch kind {
	case "struct":
		return d.members(depth)
	case "array":
		return d.elements(depth)
	}
	text, err := d.text()
	if err != nil {
		return nil, err
	}
	trimmed := strings.TrimSpace(text)
	switch kind {
	case "int", "i4", "i8", "i1", "i2":
		n, err := strconv.ParseInt(trimmed, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %.50q is no number", errForm, trimmed)
		}
		return n, nil
	case "boolean":
		return trimmed == "1", nil
	case "double":
		f, err := strconv.ParseFloat(trimmed, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %.50q is no number", errForm, trimmed)
		}
		return f, nil
	case "nil":
		return nil, nil
	}
	return text, nil
}

// text reads up to the end of the element that was begun.
func (d *decoder) text() (string, error) {
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", errForm
		}
		switch t := token.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			return text.String(), nil
		case xml.StartElement:
			return "", errForm
		}
	}
}

func (d *decoder) members(depth int) (any, error) {
	members := make(map[string]any)
	name := ""
	for {
		token, err := d.Token()
		if err != nil {
			return nil, errForm
		}
		switch t := token.(type) {
		case xml.EndElement:
			if t.Name.Local == "struct" {
				return members, nil
			}
		case xml.StartElement:
			switch t.Name.Local {
			case "name":
				if name, err = d.text(); err != nil {
					return nil, err
				}
			case "value":
				if members[name], err = d.value(depth + 1); err != nil {
					return nil, err
				}
			}
		}
	}
}

func (d *decoder) elements(depth int) (any, error) {
	elements := []any{}
	for {
		token, err := d.Token()
		if err != nil {
			return nil, errForm
		}
		switch t := token.(type) {
		case xml.EndElement:
			if t.Name.Local == "array" {
				return elements, nil
			}
		case xml.StartElement:
			if t.Name.Local == "value" {
				value, err := d.value(depth + 1)
				if err != nil {
					return nil, err
				}
				elements = append(elements, value)
			}
		}
	}
}
