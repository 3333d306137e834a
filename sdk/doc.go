// Package sdk is the vocabulary of a plugin's author: the six kinds of plugin,
// what each is given, and what each may ask of the engine.
//
// A plugin is a program. Its main function names what it offers and hands over
// to the door in package serve:
//
//	func main() {
//		serve.Plugin(sdk.Plugin{Name: "allowlist", Gate: new(gate)})
//	}
//
// Its life, seen from the inside:
//
//  1. The engine starts the program, verifies that it is the file it was told
//     to trust, and asks what it offers.
//  2. The exported fields that carry an hcl tag are filled from the plugin's
//     config block in iib.hcl. This happens once, before any other call.
//  3. If the value has a Validate() error method, it is called. `iib validate`
//     stops here, so Validate must not touch the network or the disk.
//  4. If the value has a Start(context.Context, Host) error method, it is
//     called. From here on the plugin may use its Host.
//  5. The kind's own method is called, concurrently, until the plugin is
//     disabled or the engine stops.
//  6. If the value has a Close() error method, it is called. Then the process
//     ends. It also ends, without Close, when the engine dies.
//
// The package imports nothing but the standard library; the wire, go-plugin
// and protobuf live behind serve and host.
package sdk
