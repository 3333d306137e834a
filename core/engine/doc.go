// Package engine runs the life of a request: accept, claim, gates, handler,
// build, publish, end. It knows neither network nor SQL; what it needs of them
// is named in package core and handed in.
package engine
