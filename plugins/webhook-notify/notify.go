package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// The headers of a post, besides those of HTTP.
const (
	eventHeader     = "Iib-Event"
	kindHeader      = "Iib-Event-Kind"
	deliveryHeader  = "Iib-Delivery"
	timestampHeader = "Iib-Timestamp"
	signatureHeader = "Iib-Signature"
)

const (
	// maxAnswer bounds how much of an answer is read, maxShown how much of it
	// is shown in an error.
	maxAnswer = 64 << 10
	maxShown  = 200
)

var errTimeout = errors.New("no answer in time")

// Notify posts an event. An answer that will be the same next time is Invalid;
// everything that may pass is Unavailable.
func (n *notifier) Notify(ctx context.Context, e *sdk.Event) error {
	if wait := n.hold.left(time.Now()); wait > 0 {
		return sdk.Errorf(sdk.Unavailable, "webhook %s asked not to be called for another %s", n.address.Host, wait.Round(time.Second))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.Timeout, errTimeout)
	defer cancel()
	request, err := n.request(ctx, e, time.Now())
	if err != nil {
		return err
	}
	response, err := n.client.Do(request)
	if err != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			return sdk.Errorf(sdk.Unavailable, "webhook %s did not answer within %s", n.address.Host, n.Timeout)
		}
		// The outer error has the address, which may have a token in it.
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return sdk.Errorf(sdk.Unavailable, "webhook %s: %v", n.address.Host, err)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return n.judge(response, answer)
}

func (n *notifier) request(ctx context.Context, e *sdk.Event, now time.Time) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.address.String(), bytes.NewReader(e.Body))
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "make a request to webhook %s", n.address.Host)
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "iib-webhook-notify")
	request.Header.Set(eventHeader, e.ID)
	request.Header.Set(kindHeader, string(e.Kind))
	request.Header.Set(deliveryHeader, strconv.Itoa(e.Delivery))
	request.Header.Set(timestampHeader, timestamp)
	request.Header.Set(signatureHeader, "sha256="+sign(n.Secret, timestamp, e.ID, e.Body))
	return request, nil
}

// sign returns the signature of a post in hexadecimal digits. Time and ID are
// signed too, so that a post that somebody has overheard is of no use later, or
// as another event.
func sign(secret sdk.Secret, timestamp, id string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	fmt.Fprintf(mac, "%s.%s.", timestamp, id)
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// judge makes an error of an answer.
func (n *notifier) judge(response *http.Response, answer []byte) error {
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	text := fmt.Sprintf("webhook %s answered %s", n.address.Host, response.Status)
	if said := firstWords(answer); said != "" {
		text += ": " + said
	}
	if status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500 {
		n.hold.ask(time.Now(), response.Header.Get("Retry-After"))
		return sdk.Errorf(sdk.Unavailable, "%s", text)
	}
	return sdk.Errorf(sdk.Invalid, "%s", text)
}

// firstWords is the beginning of an answer, in one line.
func firstWords(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "?")), " ")
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown]) + "..."
	}
	return text
}
