// Package wire carries the vocabulary of package sdk over gRPC. It has both
// ends of every service side by side: Server is a plugin, Conn is the engine's
// connection to one.
//
// The engine's own services are offered to a plugin over one connection by
// go-plugin's broker. A call that belongs to a run carries the run's token,
// which is unguessable and void when the run ends.
//
// Containers that are empty on one side are nil on the other.
package wire
