package tags_test

import (
	"encoding/pem"
	"net/http/httptest"
)

// certificate returns what a server shows, in the form of a file.
func certificate(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
