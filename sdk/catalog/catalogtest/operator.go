package catalogtest

import (
	"fmt"
	"math/rand/v2"
)

// Operator returns n versions of the i-th operator of a seed, oldest first:
// rich bundles in one to three channels, each replacing the one before.
func Operator(seed uint64, i, n int) []Bundle {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	name := fmt.Sprintf("%s-%s-operator-%03d", words[r.IntN(len(words))], words[r.IntN(len(words))], i)
	channels := []string{"stable", "candidate", "fast"}[:1+i%3]
	all := make([]Bundle, n)
	for v := range all {
		version := fmt.Sprintf("1.%d.%d", v/3, v%3)
		all[v] = Bundle{
			Package: name, Name: name + ".v" + version, Version: version,
			Channels: channels, DefaultChannel: "stable", Rich: true, Seed: seed,
		}
		if v > 0 {
			all[v].Replaces = all[v-1].Name
		}
	}
	return all
}
