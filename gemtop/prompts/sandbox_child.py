"""Runs code that a model wrote and assertions about it, shut off from the machine as far as the kernel allows.

`python -I -S -B sandbox_child.py REPORT_FD VERDICT_FD`, with a task as JSON on standard input (`sandbox.py`). Nothing
of gemtop is imported here: what this process does to itself cannot be undone. There are three: the one started holds
the time and clears up; the second is the first of a process namespace, so that nothing in it outlives it; the third
runs the code.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_NOBODY = 65534
_USER_NAMESPACE, _NAMESPACES = 0x10000000, 0x40000000 | 0x20000000 | 0x00020000 | 0x08000000
"""CLONE_NEWUSER; CLONE_NEWNET, NEWPID, NEWNS and NEWIPC of linux/sched.h."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR = 442
"""The same on every architecture, from Linux 5.12 on."""
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = -100, 0x8000, 0x1, 0x2
_CAPABILITY_VERSION_3 = 0x20080522
_TMPFS_INODES = 1024

_NO_EVENTS = (
    "socket.", "subprocess.", "ctypes.", "mmap.", "pty.", "sqlite3.", "webbrowser.", "os.exec", "os.fork", "os.kill",
    "os.posix_spawn", "os.spawn", "os.system", "signal.pthread_kill", "resource.setrlimit", "resource.prlimit",
)  # fmt: skip
"""Beginnings of the audit events of what a task has no need of."""
_CHANGES = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.symlink",
    "os.truncate", "os.utime",
)  # fmt: skip
"""Events of changes to files, which a task has to its folder. Opening them is looked at apart."""
_READABLE = ("/usr/share/zoneinfo", "/dev/null", "/dev/urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def main(report_fd: int, verdict_fd: int) -> None:
    """`report_fd` takes what this process says, `verdict_fd` what the code's does, which has no hold on the first."""
    task = json.load(sys.stdin.buffer)
    os.chdir(task["folder"])
    os.umask(0o022)
    open_because = _go_apart(task) if task["namespaces"] else "not asked for"
    if os.geteuid() == 0 and (because := _become_nobody()) is not None:
        _tell(report_fd, {"impossible": f"root's code is run as the user nobody, and {because}"})
        return
    _die_with(task["parent"])
    _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _tell(report_fd, {"open_because": open_because})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    child = os.fork()
    if child == 0:
        os.close(report_fd)
        _become_the_code(task, open_because is None, verdict_fd)
    status = _wait(child, task["wall_s"])
    _end(child)
    _tell(report_fd, {"exit": status})


def _tell(fd: int, what: dict[str, object]) -> None:
    os.write(fd, json.dumps(what).encode("ascii") + b"\n")


def _call(name: str, *arguments: Any) -> None:
    """A function of the C library that says with 0 that it did what it should."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _die_with(parent: int | None) -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


# Shutting off


def _go_apart(task: dict[str, Any]) -> str | None:
    """Into namespaces without a network and other processes, where only empty folders can be written to.

    Returns why not, where the system does not let this user do that.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _NAMESPACES if user == 0 else _NAMESPACES | _USER_NAMESPACE)
        if user != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
        read_only = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID)
        size = ctypes.c_size_t(ctypes.sizeof(read_only))
        _call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, read_only, size)
        _cover(task["covered"], f"size={task['files_bytes']},nr_inodes={_TMPFS_INODES},mode=1777")
    except OSError as error:
        os.chdir(task["folder"])
        return str(error.strerror)
    return None


def _cover(folders: list[str], options: str) -> None:
    """Put an empty folder over each and go to the first; Python's own modules are put back where they were.

    What lies there is not for the code to see, sockets above all: they can be spoken to on a read-only file system.
    """
    modules = {at: os.open(at, os.O_PATH) for at in map(os.path.realpath, sys.path) if Path(at).is_dir()}
    places = list(dict.fromkeys(os.path.realpath(folder) for folder in folders if Path(folder).is_dir()))
    for place in places:
        if Path(place).is_dir():  # not where it lay in one that is covered
            _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for at, kept in modules.items():
        if not Path(at).exists():
            Path(at).mkdir(parents=True)
            _mount(f"/proc/self/fd/{kept}", at, None, _MS_BIND | _MS_REC)
        os.close(kept)
    os.chdir(places[0])


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = (None if text is None else os.fsencode(text) for text in (source, target, kind))
    _call("mount", *encoded, ctypes.c_ulong(flags), options.encode())


def _become_nobody() -> str | None:
    """Root is above the limit on processes and above the permissions of files; the user nobody is not.

    Returns why code cannot be run as nobody, where it cannot.
    """
    with contextlib.suppress(OSError):
        os.chown(".", _NOBODY, _NOBODY)
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        return f"root cannot become that here: {error.strerror}"
    return None if os.access(os.__file__, os.R_OK) else f"that user cannot read {os.__file__}"


def _give_up_rights() -> None:
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _limit(task: dict[str, Any], apart: bool) -> None:
    """CPU time, memory, size of a file, open files, processes; no core dump."""
    resource.setrlimit(resource.RLIMIT_CPU, (task["cpu_s"], task["cpu_s"] + 1))  # a signal of its own, then SIGKILL
    for which, most in (
        (resource.RLIMIT_AS, task["memory_bytes"]),
        (resource.RLIMIT_FSIZE, task["files_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(which, (most, most))
    # The user's processes are counted, threads included: those in the namespace or, before Linux 5.14 and outside
    # one, all that the user has.
    for most in (task["processes"] if apart else None, task["processes"] + _threads_of_user()):
        if most is None:
            continue
        with contextlib.suppress(ValueError):  # above what the user is allowed anyway
            resource.setrlimit(resource.RLIMIT_NPROC, (most, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
        with contextlib.suppress(BlockingIOError):
            if (probe := os.fork()) == 0:
                os._exit(0)
            os.waitpid(probe, 0)
            break
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _threads_of_user() -> int:
    user, threads = str(os.getuid()), 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":", 1) for line in status.read_text(errors="replace").splitlines() if ":" in line)
            threads += int(fields["Threads"]) if fields["Uid"].split()[0] == user else 0
    return threads


def _refuse(folder: str) -> None:
    """Where there are no namespaces: have Python refuse what a task has no need of. Code can get round that."""
    readable = (folder, *_READABLE, *(os.path.realpath(at) for at in sys.path if at))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_NO_EVENTS):
            raise PermissionError(f"{event} is not allowed here")
        if event == "import" and arguments[0] in ("ctypes", "_ctypes", "_posixsubprocess"):
            raise PermissionError(f"{arguments[0]} is not allowed here")
        changes = event.startswith(_CHANGES)
        if not changes and event != "open":
            return
        allowed = (folder,) if changes or arguments[2] & writing else readable
        for path in arguments if changes else arguments[:1]:
            if isinstance(path, (str, bytes)):
                at = os.path.realpath(os.fsdecode(path))
                if not any(at == one or at.startswith(f"{one}/") for one in allowed):
                    raise PermissionError(f"{at} is out of bounds here")

    sys.addaudithook(hook)


# The code


def _become_the_code(task: dict[str, Any], apart: bool, verdict_fd: int) -> NoReturn:
    _die_with(None)
    if apart:
        code = os.fork()
        if code:
            while (ended := os.wait())[0] != code:
                pass
            os._exit(_exit_code(ended[1]))
        _die_with(None)
        _give_up_rights()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    _limit(task, apart)
    if not apart:
        _refuse(str(Path.cwd()))
    wrong = _run(task["code"], task["asserts"])
    with contextlib.suppress(OSError):
        _tell(verdict_fd, {"nonce": task["nonce"], "wrong": wrong})
    os._exit(0)


def _run(code: str, asserts: str) -> str | None:
    """What is wrong with the code, None if all assertions hold."""
    names: dict[str, Any] = {"__name__": "answer"}
    where = "the code"
    try:
        exec(compile(code, "answer", "exec"), names)  # noqa: S102
        for statement in ast.parse(asserts).body:
            where = ast.unparse(statement)
            exec(compile(ast.Module([statement], []), "asserts", "exec"), names)  # noqa: S102
    except AssertionError:
        return f"{where} does not hold" if where != "the code" else "the code's own assertion does not hold"
    except BaseException as error:
        with contextlib.suppress(BaseException):
            return f"{where}: {type(error).__name__}: {str(error)[:200]}".removesuffix(": ")
        return f"{where}: an error that cannot be shown"
    return None


# Keeping time and clearing up


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _wait(child: int, wall_s: float) -> int | None:
    """The child's exit code, 128 and the signal where one ended it; None where time is up or SIGTERM came."""
    end = time.monotonic() + wall_s
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return _exit_code(status)
        left = end - time.monotonic()
        told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, left) if left > 0 else None
        if told is None or told.si_signo == signal.SIGTERM:
            return None


def _end(child: int) -> None:
    """Kill the child and all that came of it: orphans are this process's to wait for, and so to find."""
    victims = [child]
    while True:
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)
        victims = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
