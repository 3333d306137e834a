// Package core is the engine's domain: requests and their states, batches,
// events, claims, and the stores and queues that the engine needs, described
// by what they promise. It knows no technology: adapters in core/store,
// core/queue, core/api and the like implement or drive what is named here, and
// core/cmd/iib wires them.
//
// Errors are *sdk.Error values; their six codes are the only thing that an
// adapter may decide by.
package core
