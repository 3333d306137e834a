# Answers one question about RPM repositories, with dnf's Python API: the
# question is JSON on descriptor 0, the answer is lines of JSON on descriptor 3.
# It runs with "python3 -I -c", in an environment that tells it nothing of the
# host, and writes below the cache directory and the directory asked for alone.
import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

out = os.fdopen(3, "w", encoding="utf-8", errors="replace")


def say(**line):
    out.write(json.dumps(line) + "\n")
    out.flush()


class Refusal(Exception):
    """An answer: the question has none. Codes are the SDK's."""

    def __init__(self, code, message, source=None):
        super().__init__(message)
        self.code, self.message, self.source = code, message, source


try:
    import dnf
    import dnf.callback
    import dnf.exceptions
    import dnf.lock
    import dnf.selector
    import libdnf
    import rpm
except ImportError as e:
    say(error={"code": "unavailable", "message":
        "the Python module of dnf cannot be loaded (%s): install the package python3-dnf for %s" % (e, sys.executable)})
    sys.exit(0)

# dnf's own lock is a file with a process number in it. After a crash the number
# may be somebody else's, for whom dnf would wait.
dnf.lock.build_metadata_lock = lambda *args: contextlib.nullcontext()

GLOB = re.compile(r"[*?\[]")


class Session:
    """The repositories of one question, loaded."""

    def __init__(self, ask):
        self.ask = ask
        self.cache = ask["cache"]
        self.sources = ask["sources"]
        conf = dnf.conf.Conf()
        # Not a word of the host's configuration: nothing is read from files.
        conf.config_file_path = "/dev/null"
        conf.reposdir, conf.varsdir, conf.pluginpath, conf.pluginconfpath = [], [], [], []
        conf.plugins = False
        root = os.path.join(ask["scratch"], "nothing")
        os.makedirs(root)
        conf.installroot = root
        conf.cachedir = conf.system_cachedir = os.path.join(self.cache, "metadata")
        os.makedirs(conf.cachedir, exist_ok=True)
        conf.persistdir = os.path.join(ask["scratch"], "state")
        conf.logdir = ask["scratch"]
        conf.protected_packages, conf.excludepkgs, conf.installonly_limit = [], [], 0
        conf.install_weak_deps, conf.best, conf.obsoletes = False, True, True
        conf.deltarpm, conf.zchunk, conf.fastestmirror = False, True, False
        conf.retries, conf.timeout, conf.minrate = 2, 30, 1000
        conf.gpgcheck = conf.repo_gpgcheck = False
        conf.debuglevel, conf.errorlevel = 0, 0
        conf.substitutions["arch"] = ask["arch"]
        conf.substitutions["basearch"] = ask["basearch"]
        if ask.get("releasever"):
            conf.substitutions["releasever"] = ask["releasever"]
        if ask.get("platform"):
            conf.module_platform_id = ask["platform"]
        self.base = dnf.Base(conf)
        # By the name that dnf has for it: the source, its place in the list.
        self.by_id = {}
        for n, source in enumerate(self.sources):
            self.add(n, source)

    def add(self, n, source):
        # Everything that decides what is downloaded is part of the name, so
        # that a changed source never sees the cache of what it was.
        key = json.dumps([source["id"], source["type"], source["url"], source.get("proxy"), source.get("check_ssl"),
                          source.get("ca_file") or self.ask.get("ca_file"), source.get("cert_file"),
                          self.ask["arch"], self.ask.get("releasever")])
        name = "source-" + hashlib.sha256(key.encode()).hexdigest()[:24]
        if name in self.by_id:
            return
        url = self.substitute(source)
        repo = dnf.repo.Repo(name, self.base.conf)
        if source["type"] == "yum-mirrorlist":
            repo.mirrorlist = url
        elif source["type"] == "yum-metalink":
            repo.metalink = url
        else:
            repo.baseurl = [url]
        repo.name = source["id"]
        repo.sslverify = bool(source.get("check_ssl"))
        repo.sslcacert = source.get("ca_file") or self.ask.get("ca_file") or ""
        repo.sslclientcert, repo.sslclientkey = source.get("cert_file") or "", source.get("key_file") or ""
        repo.gpgcheck = repo.repo_gpgcheck = False
        # The way out, to the source's own proxy as well. Nothing else is asked
        # for names or connected to.
        repo.proxy, repo.proxy_auth_method = self.ask["gateway"], "basic"
        repo.proxy_username, repo.proxy_password = self.ask["passes"][n]["user"], self.ask["passes"][n]["password"]
        repo.priority = source.get("priority") or 99
        repo.skip_if_unavailable = False
        repo.metadata_expire = self.ask["max_age"]
        if self.ask.get("changelogs"):
            repo.load_metadata_other = True
        repo.enable()
        self.by_id[name] = (n, source)
        self.base.repos.add(repo)

    def substitute(self, source):
        values = {"arch": self.ask["arch"], "basearch": self.ask["basearch"], "releasever": self.ask.get("releasever")}

        def value(match):
            name = match.group(1) or match.group(2)
            if name not in values:
                return match.group(0)
            if not values[name]:
                raise Refusal("invalid", "source %s: its URL has $%s, but no release version is configured" % (source["id"], name))
            return values[name]

        return re.sub(r"\$(?:\{(\w+)\}|(arch|basearch|releasever)\b)", value, source["url"])

    def load(self):
        # One writer at a time for each source, and none while it is read: a
        # source that does not answer holds up nobody who has not asked for it.
        repos = sorted(self.base.repos.iter_enabled(), key=lambda r: r.id)
        self.sweep()
        try:
            for repo in repos:
                with self.lock(repo.id, fcntl.LOCK_EX):
                    if self.ask.get("fresh"):
                        repo._repo.expire()
                    self.load_one(repo)
            with contextlib.ExitStack() as locks:
                for repo in repos:
                    locks.enter_context(self.lock(repo.id, fcntl.LOCK_SH))
                self.base.fill_sack(load_system_repo=False)
        except dnf.exceptions.RepoError as e:
            raise Refusal("unavailable", self.named(str(e)))

    def load_one(self, repo):
        source = self.by_id[repo.id][1]
        # All that dnf's error says is that all mirrors were tried.
        reasons = []
        repo._md_pload._mirror_failure_cb = lambda data, reason, *rest: reasons.append(reason)
        try:
            repo.load()
        except dnf.exceptions.RepoError as e:
            raise Refusal("unavailable", self.named(": ".join([str(e)] + reasons[-1:])), source["id"])
        # No proxy is asked for these. A server must not lead us to them.
        files = [m for m in repo._repo.getMirrors() if m.startswith(("file:", "/"))]
        if files and not source["url"].startswith("file:"):
            raise Refusal("invalid", "source %s: its list of mirrors names files of this host (%s), which only a source with a file: address may do"
                          % (source["id"], files[0]), source["id"])

    @contextlib.contextmanager
    def lock(self, name, how):
        # It goes with its holder, however that ends.
        directory = os.path.join(self.cache, "locks")
        os.makedirs(directory, exist_ok=True)
        lock = os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

    def sweep(self):
        """Forgets the metadata of sources that nobody has asked for in a month."""
        top = self.base.conf.cachedir
        for name in os.listdir(top):
            path = os.path.join(top, name)
            try:
                if any(name.startswith(known) for known in self.by_id):
                    os.utime(path)
                elif name.startswith("source-") and time.time() - os.stat(path).st_mtime > 30 * 86400:
                    if os.path.isdir(path):
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        os.unlink(path)
            except FileNotFoundError:
                pass  # another process was faster

    def named(self, text):
        """Replaces the names that dnf has for sources by their own."""
        for name, (_, source) in self.by_id.items():
            text = text.replace(name, source["id"])
        return text

    def rank(self, pkg):
        """Which source a package comes from: the smaller, the better."""
        n, source = self.by_id[pkg.repoid]
        return (source.get("priority") or 99, n)

    def available(self):
        return self.base.sack.query().available()

    # What is wished for.

    def versions(self, packages, version):
        if version in ("", "*"):
            return packages
        return [p for p in packages if matches(p, version)]

    def best(self, packages):
        """One of packages of the same name: by source, architecture, version."""
        priority = min(self.rank(p)[0] for p in packages)
        packages = [p for p in packages if self.rank(p)[0] == priority]
        # A foreign architecture only where there is nothing else, as with
        # dnf's multilib_policy=best.
        own = [p for p in packages if p.arch == "noarch" or self.basearch(p.arch) == self.ask["basearch"]]
        packages = own or packages
        top = max(packages)
        return min((p for p in packages if not p.evr_lt(top)), key=lambda p: (p.arch == "noarch", self.rank(p)))

    def basearch(self, arch):
        # x86_64 can run i686, but the two are not the same.
        return dnf.rpm.basearch(arch) if arch != "noarch" else arch

    def mark(self, want):
        """Adds a wish to the goal. Returns the candidates, and whether all of
        them will be installed or only some; None without any."""
        name, version = want["name"], want["version"] or "*"
        query = self.available()
        if GLOB.search(name):
            found = [p for p in query if fnmatch.fnmatchcase(p.name, name)]
        else:
            found = list(query.filter(name=name))
        if found:
            by_name = {}
            for p in self.versions(found, version):
                by_name.setdefault(p.name, []).append(p)
            chosen = [self.best(ps) for _, ps in sorted(by_name.items())]
            for p in chosen:
                self.base.package_install(p)
            return chosen
        if GLOB.search(name):
            return []
        found = list(query.filter(file=name)) if name.startswith("/") else []
        found = self.versions(found or list(query.filter(provides=name)), version)
        if not found:
            return []
        by_name = {}
        for p in found:
            by_name.setdefault(p.name, []).append(p)
        found = [self.best(ps) for _, ps in sorted(by_name.items())]
        priority = min(self.rank(p)[0] for p in found)
        found = [p for p in found if self.rank(p)[0] == priority]
        # The solver takes the one that goes with the rest.
        selector = dnf.selector.Selector(self.base.sack)
        selector.set(pkg=found)
        self.base.goal.install(select=selector)
        return found

    def members(self, group_id):
        found = [g for g in self.base.comps.groups if g.id == group_id]
        if not found:
            return None
        names = set()
        for g in found:
            names.update(p.name for p in g.mandatory_packages)
            names.update(p.name for p in g.default_packages)
        return sorted(names)

    def solve(self, wishes):
        problems, matched = [], []
        for want in wishes.get("packages") or []:
            found = self.mark(want)
            if not found:
                problems.append("%s-%s (No match)" % (want["name"], want["version"] or "*"))
            matched.append(found)
        groups = wishes.get("groups") or []
        if groups:
            self.base.read_comps(arch_filter=True)
        for group in groups:
            names = self.members(group)
            if names is None:
                problems.append("Group %s (No match)" % group)
                continue
            for name in names:
                # Groups name packages that a distribution has only on other
                # architectures; dnf passes over these too.
                self.mark({"name": name, "version": "*"})
        if problems:
            raise Refusal("invalid", "The following package(s) had problems: " + ",".join(problems))
        names = [w["name"] for w in wishes.get("packages") or []] + groups
        try:
            self.base.resolve()
        except dnf.exceptions.Error as e:
            text = self.named(str(e)).strip()
            raise Refusal("invalid", "There was a problem depsolving %s: %s" % (", ".join(names), text))
        installed = {}
        for p in self.base.transaction.install_set:
            installed[nevra(p)] = p
        return installed, [[p for p in found if nevra(p) in installed] for found in matched]


def matches(pkg, version):
    release = "%s-%s" % (pkg.version, pkg.release)
    forms = [release + "." + pkg.arch, "%d:%s.%s" % (pkg.epoch, release, pkg.arch),
             release, "%d:%s" % (pkg.epoch, release)]
    return version in forms or fnmatch.fnmatchcase(pkg.version, version)


def nevra(pkg):
    return (pkg.name, int(pkg.epoch), pkg.version, pkg.release, pkg.arch)


def described(pkg):
    return {"name": pkg.name, "epoch": int(pkg.epoch), "version": pkg.version, "release": pkg.release, "arch": pkg.arch}


def do_solve(session, ask):
    installed, matched = session.solve(ask["wishes"])
    return {"packages": [described(p) for p in installed.values()],
            "matches": [[described(p) for p in found] for found in matched]}


def do_projects(session, ask):
    globs = ask.get("globs") or []
    by_name = {}
    for p in session.available():
        if not globs or any(fnmatch.fnmatchcase(p.name, g) for g in globs):
            by_name.setdefault(p.name, {}).setdefault(nevra(p), []).append(p)
    projects = []
    for name, builds in by_name.items():
        # One package of those that several sources have.
        chosen = sorted((min(ps, key=session.rank) for ps in builds.values()))
        newest = chosen[-1]
        projects.append({
            "name": name, "summary": newest.summary or "", "description": newest.description or "",
            "homepage": newest.url or "",
            "builds": [dict(described(p), built=int(p.buildtime), license=p.license or "", changelog=changelog(p)) for p in chosen],
        })
    return {"projects": projects}


def changelog(pkg):
    entries = list(pkg.changelogs)
    if not entries:
        return ""
    # Entries of one day are in the order of the package, newest first.
    return max(entries, key=lambda c: c["timestamp"])["text"]


def do_check(session, ask):
    keyrings(session)
    return {}


class Counter(dnf.callback.DownloadProgress):
    """Passes on how much is downloaded, now and then."""

    def __init__(self):
        self.total, self.done, self.said, self.parts = 0, 0, 0.0, {}

    def start(self, total_files, total_size, total_drpms=0):
        self.total = total_size

    def progress(self, payload, done):
        self.parts[str(payload)] = done
        if time.monotonic() - self.said > 0.5:
            self.said = time.monotonic()
            say(progress={"done": int(sum(self.parts.values())), "total": int(self.total)})

    def end(self, payload, status, msg):
        pass


def do_download(session, ask):
    wanted, missing = [], []
    for w in ask["packages"]:
        found = list(session.available().filter(name=w["name"], epoch=w["epoch"], version=w["version"],
                                                release=w["release"], arch=w["arch"]))
        if found:
            wanted.append(min(found, key=session.rank))
        else:
            missing.append("%(name)s-%(epoch)d:%(version)s-%(release)s.%(arch)s" % w)
    if missing:
        raise Refusal("invalid", "no source has these packages any more, they have changed since the compose was accepted: "
                      + ", ".join(missing))
    rings = keyrings(session)
    directory = ask["directory"]
    for repo in session.base.repos.iter_enabled():
        repo.pkgdir = directory
    try:
        # A package of a source that is a directory is not copied by this.
        session.base.download_packages([p for p in wanted if not p._is_local_pkg()], progress=Counter())
    except dnf.exceptions.DownloadError as e:
        text = session.named(str(e)).strip()
        raise Refusal("internal" if "space left" in text else "unavailable", "download packages: " + text)
    files = []
    for p in wanted:
        source = session.by_id[p.repoid][1]
        path = os.path.join(directory, "%s-%d-%s-%s.%s.rpm" % nevra(p))
        got = p.localPkg()
        if os.path.dirname(os.path.realpath(got)) == os.path.realpath(directory):
            os.rename(got, path)
        else:
            # From a source that is a directory: it may change while we read.
            try:
                shutil.copyfile(got, path)
            except FileNotFoundError:
                raise Refusal("unavailable", "package %s: source %s has not its file %s" % (p, source["id"], got))
        kind, want = p.returnIdSum()
        have = digest(kind, path, p)
        if have != want:
            raise Refusal("invalid", "package %s from source %s: its %s checksum is %s, the metadata says %s"
                          % (p, source["id"], kind, have, want))
        if source.get("check_gpg"):
            signature(rings[p.repoid], path, p, source)
        files.append(dict(described(p), path=path, checksum="%s:%s" % (kind, want), built=int(p.buildtime),
                          size=int(p.downloadsize), installed=int(p.installsize), source=source["id"]))
    return {"files": files}


def digest(kind, path, pkg):
    kind = {"sha": "sha1"}.get(kind, kind)
    # MD5 is no check against anybody.
    if kind not in ("sha1", "sha224", "sha256", "sha384", "sha512"):
        raise Refusal("invalid", "package %s: the metadata has a %s checksum, which proves nothing" % (pkg, kind))
    with open(path, "rb") as f:
        return hashlib.file_digest(f, kind).hexdigest() if hasattr(hashlib, "file_digest") else slow_digest(f, kind)


def slow_digest(f, kind):
    h = hashlib.new(kind)
    for block in iter(lambda: f.read(1 << 20), b""):
        h.update(block)
    return h.hexdigest()


# Signatures. Each source has a key ring of its own: the key of one says nothing
# of the packages of another.

def keyrings(session):
    rings = {}
    for name, (_, source) in session.by_id.items():
        if not source.get("check_gpg"):
            continue
        urls = source.get("gpgkey_urls") or []
        if not urls:
            raise Refusal("invalid", "source %s: check_gpg is set, but gpgkey_urls names no key" % source["id"])
        ring = os.path.join(session.ask["scratch"], "keys-" + name)
        shutil.rmtree(ring, ignore_errors=True)
        os.makedirs(ring)
        for n, url in enumerate(urls):
            path = os.path.join(ring, "key-%d.asc" % n)
            fetch(session, source, url, path)
            run = rpmkeys(ring, "--import", path)
            if run.returncode != 0:
                raise Refusal("invalid", "source %s: %s has no usable key: %s" % (source["id"], url, last_line(run)))
        rings[name] = ring
    return rings


def fetch(session, source, url, path):
    repo = next(r for r in session.base.repos.iter_enabled() if session.by_id[r.id][1] is source)
    try:
        with open(path, "w+b") as f:
            repo._repo.downloadUrl(session.substitute(dict(source, url=url)), f.fileno())
            if os.fstat(f.fileno()).st_size > 8 << 20:
                raise Refusal("invalid", "source %s: %s is too large for a key" % (source["id"], url))
    except RuntimeError as e:
        raise Refusal("unavailable", "source %s: the key %s cannot be loaded: %s" % (source["id"], url, session.named(str(e))), source["id"])


def rpmkeys(ring, *args):
    return subprocess.run(["rpmkeys", "--define", "_dbpath " + ring, "--define", "_pkgverify_level all",
                           "--define", "_keyringpath " + ring + "/pubkeys", *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def last_line(run):
    lines = run.stdout.strip().splitlines()
    return lines[-1].strip() if lines else "exit status %d" % run.returncode


def signature(ring, path, pkg, source):
    run = rpmkeys(ring, "--checksig", "--verbose", path)
    # An unsigned package passes where rpm's level is not honoured: look for the
    # signature itself too.
    if run.returncode != 0 or not re.search(r"Signature, key ID [0-9a-f]+: OK", run.stdout):
        reason = next((l.strip() for l in run.stdout.splitlines() if "ignature" in l and not l.rstrip().endswith(": OK")), "it has no signature")
        raise Refusal("invalid", "package %s from source %s: signature check failed: %s" % (pkg, source["id"], reason))


def main():
    ask = json.load(sys.stdin)
    session = Session(ask)
    session.load()
    return {"solve": do_solve, "projects": do_projects, "check": do_check, "download": do_download}[ask["do"]](session, ask)


try:
    say(result=main())
except Refusal as e:
    say(error={"code": e.code, "message": e.message, "source": e.source or ""})
except OSError as e:
    say(error={"code": "internal", "message": str(e)})
except (dnf.exceptions.Error, libdnf.error.Error, RuntimeError) as e:
    say(error={"code": "internal", "message": str(e)})
out.flush()
# dnf's destructors remove temporary files of sessions that others may share.
os._exit(0)
