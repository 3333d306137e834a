package wire

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

var shapeTable = map[sdk.Shape]pb.Shape{
	sdk.ShapeNone:     pb.Shape_SHAPE_UNSPECIFIED,
	sdk.ShapeText:     pb.Shape_SHAPE_TEXT,
	sdk.ShapeImage:    pb.Shape_SHAPE_IMAGE,
	sdk.ShapeImages:   pb.Shape_SHAPE_IMAGES,
	sdk.ShapeMapping:  pb.Shape_SHAPE_MAPPING,
	sdk.ShapeTextMap:  pb.Shape_SHAPE_TEXT_MAP,
	sdk.ShapeJSONText: pb.Shape_SHAPE_JSON_TEXT,
	sdk.ShapeIgnored:  pb.Shape_SHAPE_IGNORED,
	sdk.ShapeNumber:   pb.Shape_SHAPE_NUMBER,
}

func describeHandler(requestType string, h sdk.Handler) *pb.HandlerDescription {
	d := &pb.HandlerDescription{Type: requestType}
	_, d.Accepts = h.(sdk.Acceptor)
	_, d.Previews = h.(sdk.Previewer)
	describer, ok := h.(sdk.Describer)
	if !ok {
		return d
	}
	doc := describer.Describe()
	d.Summary = doc.Summary
	for _, p := range doc.Params {
		d.Params = append(d.Params, &pb.Param{
			Name: p.Name, Doc: p.Doc, Required: p.Required, Secret: p.Secret,
			Schema: p.Schema, Example: p.Example,
		})
	}
	for _, f := range doc.Fields {
		d.Fields = append(d.Fields, &pb.Field{
			Name: f.Name, Doc: f.Doc, Schema: f.Schema, Shape: shapeTable[f.Shape],
			Image: f.Image, Hidden: f.Hidden,
		})
	}
	for _, a := range doc.Artifacts {
		d.Artifacts = append(d.Artifacts, &pb.Artifact{
			Name: a.Name, Path: a.Path, Field: a.Field, ContentType: a.ContentType, Parameter: a.Parameter,
		})
	}
	return d
}

// HandlerDoc returns what a handler says of itself.
func HandlerDoc(d *pb.HandlerDescription) sdk.HandlerDoc {
	doc := sdk.HandlerDoc{Summary: d.GetSummary()}
	for _, p := range d.GetParams() {
		doc.Params = append(doc.Params, sdk.ParamDoc{
			Name: p.GetName(), Doc: p.GetDoc(), Required: p.GetRequired(), Secret: p.GetSecret(),
			Schema: raw(p.GetSchema()), Example: raw(p.GetExample()),
		})
	}
	for _, f := range d.GetFields() {
		field := sdk.FieldDoc{
			Name: f.GetName(), Doc: f.GetDoc(), Schema: raw(f.GetSchema()),
			Image: f.GetImage(), Hidden: f.GetHidden(),
		}
		for shape, wire := range shapeTable {
			if wire == f.GetShape() {
				field.Shape = shape
			}
		}
		doc.Fields = append(doc.Fields, field)
	}
	for _, a := range d.GetArtifacts() {
		doc.Artifacts = append(doc.Artifacts, sdk.ArtifactDoc{
			Name: a.GetName(), Path: a.GetPath(), Field: a.GetField(), ContentType: a.GetContentType(),
			Parameter: a.GetParameter(),
		})
	}
	return doc
}
