// Package api answers HTTP: routes, identity, bodies, the JSON of the API
// contract, and the one table that turns error codes into statuses. It judges
// nothing about a request's parameters; the handlers do.
package api
