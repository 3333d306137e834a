package image

import (
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"

	"github.com/iib-engine/iib/sdk"
)

// Credentials looks up the login for a pull spec in an auth file, which has the
// form of Docker's config.json: that of its repository, of a namespace above
// it, or of its registry, the narrowest first. Without one both are empty.
func Credentials(authFile, spec string) (username string, password sdk.Secret, err error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return "", "", err
	}
	login, err := config.GetCredentials(&types.SystemContext{AuthFilePath: authFile}, ref.Name())
	if err != nil {
		return "", "", sdk.Errorf(sdk.Invalid, "auth file %s: no login for %s can be read from it: %v", authFile, ref.Name(), err)
	}
	if login.IdentityToken != "" {
		return "<token>", sdk.Secret(login.IdentityToken), nil
	}
	return login.Username, sdk.Secret(login.Password), nil
}
