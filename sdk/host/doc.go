// Package host is the engine's door to plugins: it verifies and starts a
// plugin's program, and gives each kind that it offers as the Go interface of
// package sdk.
//
// The order of calls is Launch, Configure, Validate, Start, then those of the
// kinds, concurrently, and Close. Kill may be called at any time, from anywhere.
// A call to a plugin that is gone, or goes while the call is under way, fails
// with code Unavailable.
//
// The package needs Linux: it executes a verified file descriptor by way of
// /proc, and has the kernel kill a plugin whose engine dies.
package host
