package wire

import (
	"strings"
	"testing"

	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

// What a plugin of another making may say, and an engine must not believe.
func TestDescriptionsThatAreRefused(t *testing.T) {
	handler := func(h *pb.HandlerDescription) *pb.DescribeResponse {
		return &pb.DescribeResponse{Name: "p", Handlers: []*pb.HandlerDescription{h}}
	}
	for _, c := range []struct {
		what string
		d    *pb.DescribeResponse
		want string // "" for none
	}{
		{"nothing but a name", &pb.DescribeResponse{Name: "p"}, ""},
		{"no name", &pb.DescribeResponse{}, `its name ""`},
		{"a name like a path", &pb.DescribeResponse{Name: "../p"}, `its name "../p"`},
		{"a long name", &pb.DescribeResponse{Name: strings.Repeat("p", 1000)}, "its name"},
		{"a request type like a path", handler(&pb.HandlerDescription{Type: "add/../rm"}), `its request type "add/../rm"`},
		{"a request type twice", &pb.DescribeResponse{Name: "p", Handlers: []*pb.HandlerDescription{{Type: "add"}, {Type: "add"}}}, "request type add twice"},
		{"a customizer without a name", &pb.DescribeResponse{Name: "p", Customizers: []*pb.CustomizerDescription{{}}}, `its customizer ""`},
		{"a parameter's schema", handler(&pb.HandlerDescription{Type: "add", Params: []*pb.Param{{Name: "a", Schema: []byte("{")}}}), "parameter a is not JSON"},
		{"a parameter's example", handler(&pb.HandlerDescription{Type: "add", Params: []*pb.Param{{Name: "a", Example: []byte("x")}}}), "parameter a is not JSON"},
		{"a field's schema", handler(&pb.HandlerDescription{Type: "add", Fields: []*pb.Field{{Name: "f", Schema: []byte("}")}}}), "field f is not JSON"},
		{"good documentation", handler(&pb.HandlerDescription{Type: "add", Params: []*pb.Param{{Name: "a", Schema: []byte("{}")}}}), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := checkDescription(c.d)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (sdk.CodeOf(err) != sdk.Invalid || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}
