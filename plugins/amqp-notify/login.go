package main

import "github.com/Azure/go-amqp"

// What sasl may be.
const (
	saslPlain     = "plain"
	saslExternal  = "external"
	saslAnonymous = "anonymous"
)

// login returns the one way to log in. Brokers offer several in an order of
// their own, and the library would take the first that both know, which may be
// the anonymous one.
func (n *notifier) login() amqp.SASLType {
	kind := n.SASL
	if kind == "" {
		switch {
		case n.Username != "":
			kind = saslPlain
		case n.Cert != "":
			kind = saslExternal
		}
	}
	switch kind {
	case saslPlain:
		return amqp.SASLTypePlain(n.Username, n.Password.Reveal())
	case saslExternal:
		return amqp.SASLTypeExternal("")
	}
	return amqp.SASLTypeAnonymous()
}
