# Runs rpm where it sees the tree, the packages and the host's programs, and
# nothing else. It is process 1 of new mount, process, network, IPC and host
# name spaces; what it mounts vanishes with it, and so does every process that a
# scriptlet leaves behind. The task is JSON on descriptor 0.
import ctypes
import json
import os
import sqlite3
import sys

libc = ctypes.CDLL(None, use_errno=True)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217}
# What unpacking packages needs. Without SYS_ADMIN nothing can be mounted, so
# that device nodes stay dead on file systems mounted without devices.
CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, MKNOD, SETFCAP = 0, 1, 3, 4, 5, 6, 7, 18, 27, 31
KEPT = {CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, MKNOD, SETFCAP}


def check(result, what):
    if result != 0:
        e = ctypes.get_errno()
        print("confine: %s: %s" % (what, os.strerror(e)), file=sys.stderr)
        sys.exit(125)


def mount(source, target, kind=None, flags=0, data=None):
    enc = lambda s: s.encode() if s is not None else None
    check(libc.mount(enc(source), enc(target), enc(kind), ctypes.c_ulong(flags), enc(data)), "mount " + target)


def bind(source, target, flags):
    mount(source, target, flags=BIND | REC)
    # What the host has forbidden must stay forbidden, or the kernel refuses.
    have = os.statvfs(target).f_flag
    keep = have & (RDONLY | NOSUID | NODEV | NOEXEC)
    keep |= (have & (1024 | 2048)) | ((1 << 21) if have & 4096 else 0)
    mount(None, target, flags=REMOUNT | BIND | flags | keep)


def main():
    task = json.load(sys.stdin)
    mount(None, "/", flags=REC | PRIVATE)
    new = task["root"]
    mount("tmpfs", new, "tmpfs", NOSUID | NODEV, "mode=0755,size=16m")
    for name in ("tree", "packages", "etc", "tmp", "proc"):
        os.mkdir(os.path.join(new, name))
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = os.path.join("/", name)
        if os.path.islink(path):
            os.symlink(os.readlink(path), new + path)
        elif os.path.isdir(path):
            os.mkdir(new + path)
            bind(path, new + path, RDONLY | NOSUID | NODEV)
    if os.path.exists("/etc/ld.so.cache"):
        with open("/etc/ld.so.cache", "rb") as source, open(new + "/etc/ld.so.cache", "wb") as target:
            target.write(source.read())
    bind(task["tree"], new + "/tree", NOSUID | NODEV)
    bind(task["packages"], new + "/packages", RDONLY | NOSUID | NODEV | NOEXEC)

    # What scriptlets may expect. The kernel's settings are read-only.
    tree = new + "/tree"
    mount("proc", tree + "/proc", "proc", RDONLY | NOSUID | NODEV | NOEXEC)
    mount("tmpfs", tree + "/dev", "tmpfs", NOSUID | NOEXEC, "mode=0755,size=1m")
    for name in ("null", "zero", "full", "random", "urandom"):
        node = tree + "/dev/" + name
        with open(node, "w"):
            pass
        mount("/dev/" + name, node, flags=BIND)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
        os.symlink(target, tree + "/dev/" + name)
    mount("tmpfs", tree + "/run", "tmpfs", NOSUID | NODEV, "mode=0755,size=256m")

    os.chdir(new)
    check(libc.syscall(ctypes.c_long(PIVOT_ROOT[os.uname().machine]), b".", b"."), "pivot_root")
    check(libc.umount2(b".", DETACH), "umount the host")
    os.chdir("/")

    check(libc.sethostname(b"localhost", 9), "set the host name")
    for cap in range(64):
        if cap not in KEPT and libc.prctl(23, cap, 0, 0, 0) == 1:
            check(libc.prctl(24, cap, 0, 0, 0), "drop capability %d" % cap)
    # The bounding set is for what is executed; this is for ourselves.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    mask = sum(1 << cap for cap in KEPT)
    data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    check(libc.capset(header, data), "give up capabilities")
    os.umask(0o022)
    # Scriptlets talk to whoever reads the log.
    os.dup2(2, 1)
    null = os.open("/tree/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    child = os.fork()
    if child == 0:
        os.execve("/usr/bin/rpm", ["rpm"] + task["args"], {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(task["epoch"]),
        })
    # Orphans of scriptlets come to process 1 as well.
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    settle("/tree" + task["database"] + "/rpmdb.sqlite")
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def settle(database):
    """Puts rpm's database in one file: beside it lie a log and an index of that,
    with random numbers in it, which nobody can recover on a read-only system."""
    if not os.path.isfile(database) or os.path.islink(database):
        return
    db = sqlite3.connect(database, isolation_level=None)
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("VACUUM")
    except sqlite3.Error as e:
        print("confine: rpm's database: %s" % e, file=sys.stderr)
    finally:
        db.close()


main()
