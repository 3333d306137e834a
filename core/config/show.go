package config

import (
	"encoding"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/iib-engine/iib/sdk"
)

// masked stands for a secret in what is shown.
const masked = "*****"

// Show returns the configuration as indented JSON: defaults filled in, paths
// absolute, secrets masked.
func (c *Config) Show() []byte {
	data, err := json.MarshalIndent(plain(reflect.ValueOf(c), "", false), "", "  ")
	if err != nil {
		panic("config: " + err.Error())
	}
	return append(data, '\n')
}

var (
	textType     = reflect.TypeFor[encoding.TextMarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[sdk.Secret]()
	bodyType     = reflect.TypeFor[Body]()
)

// plain returns a value as encoding/json wants it. The fields of structs are
// those with a json tag; how a secret is masked is in their show tag.
func plain(v reflect.Value, how string, reveal bool) any {
	switch v.Type() {
	case durationType:
		return time.Duration(v.Int()).String()
	case secretType:
		if reveal {
			return v.String()
		}
		return mask(v.String(), how)
	case bodyType:
		body := v.Interface().(Body)
		return body.written.plain(reveal)
	}
	if v.Type().Implements(textType) {
		text, _ := v.Interface().(encoding.TextMarshaler).MarshalText()
		return string(text)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem(), how, reveal)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), how, reveal)
		}
		return list
	case reflect.Map:
		object := make(map[string]any)
		for _, k := range v.MapKeys() {
			object[k.String()] = plain(v.MapIndex(k), how, reveal)
		}
		return object
	case reflect.Struct:
		object := make(map[string]any)
		for _, f := range reflect.VisibleFields(v.Type()) {
			if name := f.Tag.Get("json"); name != "" {
				object[name] = plain(v.FieldByIndex(f.Index), f.Tag.Get("show"), reveal)
			}
		}
		return object
	}
	return v.Interface()
}

// mask hides a secret. Of a URL only the password is one.
func mask(secret, how string) string {
	if secret == "" {
		return ""
	}
	if how != "url" {
		return masked
	}
	u, err := url.Parse(secret)
	if err != nil {
		return masked
	}
	query := u.Query()
	for name := range query {
		if soundsSecret(name) {
			query.Set(name, masked)
		}
	}
	u.RawQuery = query.Encode()
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "secret")
		return strings.Replace(u.String(), ":secret@", ":"+masked+"@", 1)
	}
	return u.String()
}

// Redact masks in a text the secrets of the engine's own settings, and the
// passwords in addresses, for the words of others that might quote one. What a
// plugin says of its settings is redacted by Rejected.
func (c *Config) Redact(text string) string {
	for _, secret := range secretsIn(reflect.ValueOf(c), nil) {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return text
}

// secretsIn adds the secrets of a value, and after each address its password, as
// it is and as the address has it.
func secretsIn(v reflect.Value, found []string) []string {
	if v.Type() == secretType {
		text := v.String()
		if text != "" {
			found = append(found, text)
		}
		if u, err := url.Parse(text); err == nil && u.User != nil {
			if password, _ := u.User.Password(); password != "" {
				found = append(found, password, url.QueryEscape(password), url.PathEscape(password))
			}
		}
		return found
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return secretsIn(v.Elem(), found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = secretsIn(v.Index(i), found)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				found = secretsIn(v.Field(i), found)
			}
		}
	}
	return found
}
