package image

import (
	"os"

	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"

	"github.com/iib-engine/iib/sdk"
)

// identityToken is the user name that tells registries and tools that the
// password is a token to be exchanged, not a password.
const identityToken = "<token>"

// Credentials looks up the login for a pull spec in an auth file, which has the
// form of Docker's config.json: that of its repository, of a namespace above
// it, or of its registry, the narrowest first. Without one both are empty. A
// file that is missing or malformed is Invalid.
//
// The file is read each time, so that a replaced one counts at once. It belongs
// to the administrator: credential helpers that it names are run.
func Credentials(authFile, spec string) (username string, password sdk.Secret, err error) {
	ref, err := ParseRef(spec)
	if err != nil {
		return "", "", err
	}
	if _, err := os.Stat(authFile); err != nil {
		return "", "", sdk.Errorf(sdk.Invalid, "auth file: %v", err)
	}
	login, err := config.GetCredentials(&types.SystemContext{
		AuthFilePath: authFile,
		// What this machine is configured to for other programs is not for us.
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: os.DevNull,
	}, ref.Name())
	if err != nil {
		return "", "", sdk.Errorf(sdk.Invalid, "auth file %s: no login for %s can be read from it: %v", authFile, ref.Name(), err)
	}
	if login.IdentityToken != "" {
		return identityToken, sdk.Secret(login.IdentityToken), nil
	}
	return login.Username, sdk.Secret(login.Password), nil
}
