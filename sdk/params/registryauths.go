package params

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/iib-engine/iib/sdk"
)

// RegistryAuths reads a fragment of a Docker config.json (section 2.7.1): the
// credentials by registry or repository, sorted by these. Empty or false means
// none. Whether the credentials can be read is not judged at submission, so
// the places of those that cannot are returned too, for the job to fail on.
//
// No error contains a credential.
func (o Object) RegistryAuths(name string) (grants []sdk.Grant, unreadable []string, err error) {
	if !o.Truthy(name) {
		return nil, nil, nil
	}
	top, ok := objectOf(o[name])
	if !ok || len(top) != 1 || top["auths"] == nil {
		return nil, nil, sdk.FieldErrorf(name, `%s must be an object with the one key "auths"`, name)
	}
	auths, ok := objectOf(top["auths"])
	if !ok || len(auths) == 0 {
		return nil, nil, sdk.FieldErrorf(name, `%s: "auths" must be an object with at least one registry`, name)
	}
	for _, registry := range slices.Sorted(maps.Keys(auths)) {
		entry, ok := objectOf(auths[registry])
		if !ok || len(entry) != 1 || entry["auth"] == nil {
			return nil, nil, sdk.FieldErrorf(name, `%s: %q must be an object with the one key "auth"`, name, registry)
		}
		var auth *string
		if json.Unmarshal(entry["auth"], &auth) != nil || auth == nil {
			return nil, nil, sdk.FieldErrorf(name, `%s: "auth" of %q must be a string`, name, registry)
		}
		username, password, ok := credentials(*auth)
		if !ok {
			unreadable = append(unreadable, registry)
			continue
		}
		grants = append(grants, sdk.Grant{Scope: scope(registry), Username: username, Password: sdk.Secret(password)})
	}
	return grants, unreadable, nil
}

func objectOf(value json.RawMessage) (map[string]json.RawMessage, bool) {
	var o map[string]json.RawMessage
	err := json.Unmarshal(value, &o)
	return o, err == nil && o != nil
}

// credentials decodes user and password. An empty text is anonymous access,
// which replaces the engine's own credentials.
func credentials(auth string) (username, password string, ok bool) {
	if auth == "" {
		return "", "", true
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(auth))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(strings.TrimRight(string(data), "\x00"), ":")
}

// scope is a key of config.json as a grant has it. Docker's own entries are
// addresses with a scheme and a version.
func scope(key string) string {
	for _, scheme := range []string{"https://", "http://"} {
		key = strings.TrimPrefix(key, scheme)
	}
	key = strings.TrimRight(key, "/")
	for _, version := range []string{"/v1", "/v2"} {
		key = strings.TrimSuffix(key, version)
	}
	if key == "index.docker.io" || key == "registry-1.docker.io" {
		return "docker.io"
	}
	return key
}
