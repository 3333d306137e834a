// Package coretest tests what implements the interfaces of package core: an
// in-memory store for the tests of everything that needs one, and the suite
// that it and every real store must pass.
package coretest
