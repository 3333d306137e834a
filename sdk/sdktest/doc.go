// Package sdktest runs a plugin in a test over the real wire, without a
// process, and plays the engine for it.
//
//	func TestGate(t *testing.T) {
//		g := sdktest.Gate(t, &gate{Registries: []string{"quay.io"}})
//		verdict, err := g.Check(t.Context(), sdktest.GateRequest("docker.io/library/busybox:1"))
//		...
//	}
//
// What is served has the settings that the value has; they travel to the
// plugin as those of a config block do. Then Validate and Start are called, if
// there are any, and Close at the end of the test. A test fails at once if one
// of them fails, if a method of that name has another signature and would thus
// never be called, or if a README.md in the test's directory leaves out a
// setting.
package sdktest
