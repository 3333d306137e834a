package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/iib-engine/iib/sdk"
)

// contentType is that of every message's body.
const contentType = "application/json"

// message returns an event as section 7.1 of the API contract has it: a string
// value with JSON text, four or three application properties, and nothing more
// in properties and header than is set here.
func message(e *sdk.Event, durable bool) *amqp.Message {
	kind, correlation := contentType, correlationID(e)
	properties := map[string]any{"batch": e.Batch, "state": e.State, "user": nil}
	if e.User != "" {
		properties["user"] = e.User
	}
	if e.Kind == sdk.RequestState {
		properties["id"] = e.Request
	}
	return &amqp.Message{
		// 4 is the priority of a message that has none.
		Header:                &amqp.MessageHeader{Durable: durable, Priority: 4},
		Properties:            &amqp.MessageProperties{ContentType: &kind, CorrelationID: correlation},
		ApplicationProperties: properties,
		Value:                 string(e.Body),
	}
}

// correlationID returns a UUID that looks like any random one, but is the same
// whenever the event is delivered: a listener can tell a repetition by it. The
// time keeps the events of two engines apart, whose IDs both count from 1.
func correlationID(e *sdk.Event) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", e.ID, e.Time.UTC().Format(time.RFC3339Nano), e.Body))
	sum[6] = sum[6]&0x0f | 0x40 // version 4
	sum[8] = sum[8]&0x3f | 0x80 // variant of RFC 9562
	text := hex.EncodeToString(sum[:16])
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
}
