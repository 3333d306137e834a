// Package pb is the code generated from sdk/proto, and nothing else. Packages
// serve, host and sdktest are its only users, by way of package wire.
package pb

//go:generate ../../proto/generate.sh
