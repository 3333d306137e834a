// Package tree makes the root tree of an image: exactly the solved packages,
// installed by rpm in a confined process, with nothing of the build host in it
// and the same bytes each time.
package tree

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iib-engine/iib/plugins/composer/internal/dnf"
	"github.com/iib-engine/iib/plugins/composer/internal/process"
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/printed"
)

//go:embed confine.py
var confine string

// database is where rpm keeps its database in the tree.
const database = "/var/lib/rpm"

// mounted are the directories on which file systems lie while packages are
// installed. Packages that own them do not get to see them.
var mounted = map[string]os.FileMode{"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755}

// Spec is a tree to be made.
type Spec struct {
	// Dir becomes the tree. It must be empty, on a file system that keeps
	// owners and extended attributes.
	Dir string
	// Work is an empty directory for what is left when the tree is done.
	Work string
	// Packages is the directory that Files are in.
	Packages string
	Files    []dnf.File
	// Log gets what rpm and the scriptlets say.
	Log func(line string)
}

// Epoch is the time of everything in an image that has none of its own: when
// the newest of its packages was built.
func Epoch(files []dnf.File) time.Time {
	epoch := time.Unix(1, 0).UTC()
	for _, f := range files {
		if f.Built.After(epoch) {
			epoch = f.Built
		}
	}
	return epoch
}

// Install installs the packages. Its error is Invalid if packages or their
// scriptlets refuse, and has rpm's explanation.
func Install(ctx context.Context, spec Spec) error {
	root := filepath.Join(spec.Work, "root")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return sdk.Errorf(sdk.Internal, "tree: %w", err)
	}
	if err := os.Chmod(spec.Dir, 0o755); err != nil {
		return sdk.Errorf(sdk.Internal, "tree: %w", err)
	}
	for dir := range mounted {
		if err := os.Mkdir(filepath.Join(spec.Dir, dir), 0o755); err != nil {
			return sdk.Errorf(sdk.Internal, "tree: %w", err)
		}
	}
	if len(spec.Files) > 0 {
		if err := install(ctx, spec, root); err != nil {
			return err
		}
	}
	if err := moveDatabase(spec.Dir); err != nil {
		return sdk.Errorf(sdk.Internal, "move rpm's database in the tree: %w", err)
	}
	for dir, mode := range mounted {
		if err := os.Chmod(filepath.Join(spec.Dir, dir), mode); err != nil {
			return sdk.Errorf(sdk.Internal, "tree: %w", err)
		}
	}
	return nil
}

func install(ctx context.Context, spec Spec, root string) error {
	rpm := []string{
		"--root", "/tree", "--define", "_dbpath " + database,
		"--define", "_netsharedpath /proc:/sys:/dev:/run",
		// The host's plugins to rpm have no business here, and the signatures
		// were checked against the keys of each source.
		"--noplugins", "--nosignature", "--verbose", "--install",
	}
	for _, f := range spec.Files {
		rpm = append(rpm, "/packages/"+filepath.Base(f.Path))
	}
	task, err := json.Marshal(map[string]any{
		"root": root, "tree": spec.Dir, "packages": spec.Packages, "args": rpm, "database": database, "epoch": Epoch(spec.Files).Unix(),
	})
	if err != nil {
		return sdk.Errorf(sdk.Internal, "tree: %w", err)
	}
	if _, err := process.Find("rpm"); err != nil {
		return err
	}
	lines := &process.Lines{Each: func(line string) {
		// Debian's rpm advises against the use of rpm.
		if !strings.Contains(line, "use Alien instead") && !strings.Contains(line, "assuming you know what you are doing") {
			spec.Log(line)
		}
	}}
	command := process.Command{
		Program: dnf.Python,
		Args:    []string{"-I", "-B", "-c", confine},
		Dir:     spec.Work,
		Stdin:   bytes.NewReader(task),
		Stderr:  lines,
		Attr: func(a *syscall.SysProcAttr) {
			a.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
			process.AsRoot(a)
		},
	}
	err = command.Run(ctx)
	lines.Flush()
	return explain(ctx, err)
}

// explain makes an error of how rpm has ended.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var failure *process.Failure
	switch {
	case errors.Is(err, unix.EPERM):
		return sdk.Errorf(sdk.Unavailable, "install packages: this host does not let us make namespaces (%v): run the engine as root with CAP_SYS_ADMIN, or allow user namespaces", err)
	case !errors.As(err, &failure):
		return err
	case failure.NoSpace(), strings.Contains(failure.Output, "more space on the"):
		return sdk.Errorf(sdk.Internal, "install packages: no space is left on the disk: %s", complaints(failure.Output))
	case strings.Contains(failure.Output, "confine: "):
		return sdk.Errorf(sdk.Unavailable, "install packages: they cannot be confined on this host: %s", printed.LastLine(failure.Output))
	}
	return sdk.Errorf(sdk.Invalid, "install packages: rpm refuses: %s", complaints(failure.Output))
}

// complaints are the lines in which rpm says what is wrong, without its
// progress.
func complaints(output string) string {
	var found []string
	for l := range strings.Lines(output) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "error:") || strings.Contains(l, "is needed by") || strings.Contains(l, "conflicts with") || strings.Contains(l, "intended for a different") || strings.Contains(l, " space ") {
			found = append(found, l)
		}
	}
	if len(found) == 0 {
		return printed.LastLine(output)
	}
	const most = 8
	if len(found) > most {
		found = append(found[:most], fmt.Sprintf("and %d more", len(found)-most))
	}
	return strings.Join(found, "; ")
}

// sysimage is where newer distributions keep rpm's database.
const sysimage = "/usr/lib/sysimage/rpm"

var dbpath = regexp.MustCompile(`(?m)^%_dbpath\s+%\{_usr\}/lib/sysimage/rpm\s*$`)

// moveDatabase puts the database where the rpm of the image looks for it.
func moveDatabase(dir string) error {
	root, err := Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if macros, err := root.ReadFile("/usr/lib/rpm/macros"); err != nil || !dbpath.Match(macros) {
		return nil
	}
	from, err := root.resolve(database, true)
	if err != nil {
		return err
	}
	to, err := root.resolve(sysimage, true)
	if err != nil || from == to {
		return err
	}
	if err := root.Mkdir("/"+to, Owner{Mode: 0o755}); err != nil {
		return err
	}
	entries, err := root.ReadDir("/" + from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.root.Rename(path.Join(from, e.Name()), path.Join(to, e.Name())); err != nil {
			return err
		}
	}
	// Programs that know the old place find it still.
	return root.Link("../../usr/lib/sysimage/rpm", "/"+from)
}
