package host

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk/internal/pb"
)

func TestSchemasThatAreRefused(t *testing.T) {
	deep := &pb.Schema{}
	for range 2 * maxNesting {
		deep = &pb.Schema{Blocks: []*pb.Block{{Name: "b", Schema: deep}}}
	}
	attribute := func(a *pb.Attribute) *pb.Schema { return &pb.Schema{Attributes: []*pb.Attribute{a}} }
	for _, c := range []struct {
		what   string
		schema *pb.Schema
		want   string
	}{
		{"a type of the future", attribute(&pb.Attribute{Name: "a", Type: 99}), "its type 99 is not known"},
		{"no type", attribute(&pb.Attribute{Name: "a"}), "its type 0 is not known"},
		{"a name with a dot", attribute(&pb.Attribute{Name: "a.b", Type: pb.Type_TYPE_BOOL}), `"a.b" is no name`},
		{"a default that is not JSON", attribute(&pb.Attribute{Name: "a", Type: pb.Type_TYPE_BOOL, Default: []byte("maybe")}), "its default is not JSON"},
		{"a name twice", &pb.Schema{
			Attributes: []*pb.Attribute{{Name: "a", Type: pb.Type_TYPE_BOOL}},
			Blocks:     []*pb.Block{{Name: "a", Schema: &pb.Schema{}}},
		}, "a is there twice"},
		{"a label without a name", &pb.Schema{Blocks: []*pb.Block{{Name: "b", Labels: []*pb.Label{{}}}}}, "no name of a label"},
		{"blocks without end", deep, "nested more than 8 deep"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := newOffers(&pb.DescribeResponse{Name: "p", Schema: c.schema})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
			_, err = newOffers(&pb.DescribeResponse{Name: "p", Customizers: []*pb.CustomizerDescription{{Name: "c", Schema: c.schema}}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "customizer c") {
				t.Errorf("of a customizer: got %v, want it to say %q", err, c.want)
			}
		})
	}
}
