package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func BenchmarkLoad(b *testing.B) {
	shipped, err := os.ReadFile("../../iib.hcl")
	if err != nil {
		b.Fatal(err)
	}
	var many strings.Builder
	many.WriteString("plugin \"steps\" { kind = \"customizer\" }\n")
	for i := range 1000 {
		fmt.Fprintf(&many, "organization \"o%d\" {\n", i)
		for range 8 {
			fmt.Fprintf(&many, "  customize \"package_name_suffix\" { suffix = \"-%d\" }\n", i)
		}
		fmt.Fprintf(&many, "}\nuser \"u%d\" { queue = \"default\" }\n", i)
	}
	for name, text := range map[string][]byte{"shipped": shipped, "1000 organizations and users": []byte(many.String())} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r := &reporter{source: source{file: "iib.hcl"}}
				if parse(r, text, noEnv); len(r.found) > 0 {
					b.Fatal(r.found)
				}
			}
		})
	}
}
