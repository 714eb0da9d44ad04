"""Commands that responders run inside a container with kubectl exec.

The images hold a busybox, as node:alpine does; anything else is answered as the OCI runtime would.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from urllib.parse import urlsplit

from opslib.sandbox.workloads.protocol import Container, ExecResult, HttpAnswer

Get = Callable[[str, int], HttpAnswer | None]
SHELLS = ("sh", "/bin/sh", "ash", "/bin/ash")


def run(c: Container, argv: list[str], stdin: bytes | None, get: Get) -> ExecResult:
    """Run one command; `get(path, port)` asks the container's own program over HTTP."""
    if not argv:
        return ExecResult(1, b"", b"no command\n")
    name, args = argv[0], argv[1:]
    if name in SHELLS:
        return _shell(c, args, stdin, get)
    handler = COMMANDS.get(name.rpartition("/")[2])
    if handler is None:
        text = f'OCI runtime exec failed: exec failed: unable to start container process: exec: "{name}": '
        return ExecResult(127, b"", (text + "executable file not found in $PATH: unknown\n").encode())
    return handler(c, args, get)


def _shell(c: Container, args: list[str], stdin: bytes | None, get: Get) -> ExecResult:
    given = args[:1] == ["-c"] and len(args) > 1
    script = args[1] if given else (stdin or b"").decode(errors="replace")
    out, err, status = b"", b"", 0
    for line in script.replace(";", "\n").replace("&&", "\n").splitlines():
        words = shlex.split(line)
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "exit":
            return ExecResult(int(words[1]) if len(words) > 1 and words[1].isdigit() else status, out, err)
        done = run(c, words, None, get)
        if done.exit_code == 127:
            done = ExecResult(127, b"", f"sh: {words[0]}: not found\n".encode())
        out, err, status = out + done.stdout, err + done.stderr, done.exit_code
    return ExecResult(status, out, err)


def _ok(text: str) -> ExecResult:
    return ExecResult(0, (text.rstrip("\n") + "\n").encode() if text else b"")


def _environment(c: Container, args: list[str], _: Get) -> ExecResult:
    everything = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": c.pod["metadata"]["name"], **c.env}
    if args:
        if args[0] not in everything:
            return ExecResult(1)
        return _ok(everything[args[0]])
    return _ok("\n".join(f"{key}={value}" for key, value in everything.items()))


def _fetch(_: Container, args: list[str], get: Get) -> ExecResult:
    url = next((arg for arg in args if arg.startswith("http")), "")
    parts = urlsplit(url)
    if parts.hostname not in ("localhost", "127.0.0.1"):
        return ExecResult(1, b"", f"wget: bad address '{parts.hostname}'\n".encode())
    found = get((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), parts.port or 80)
    if found is None:
        return ExecResult(1, b"", b"wget: can't connect to remote host (127.0.0.1): Connection refused\n")
    if found.status >= 400:
        return ExecResult(1, b"", f"wget: server returned error: HTTP/1.1 {found.status}\n".encode())
    return _ok(found.body)


def _cat(c: Container, args: list[str], _: Get) -> ExecResult:
    files = {"/etc/hostname": c.pod["metadata"]["name"], "/proc/1/comm": "node"}
    missing = [arg for arg in args if arg not in files]
    if missing:
        return ExecResult(1, b"", f"cat: can't open '{missing[0]}': No such file or directory\n".encode())
    return _ok("\n".join(files[arg] for arg in args))


COMMANDS: dict[str, Callable[[Container, list[str], Get], ExecResult]] = {
    "env": _environment,
    "printenv": _environment,
    "wget": _fetch,
    "curl": _fetch,
    "cat": _cat,
    "echo": lambda _c, args, _g: _ok(" ".join(args)),
    "true": lambda _c, _a, _g: ExecResult(0),
    "false": lambda _c, _a, _g: ExecResult(1),
    "hostname": lambda c, _a, _g: _ok(str(c.pod["metadata"]["name"])),
    "id": lambda _c, _a, _g: _ok("uid=1000(node) gid=1000(node) groups=1000(node)"),
    "node": lambda _c, args, _g: _ok("v20.10.0") if args[:1] in (["-v"], ["--version"]) else ExecResult(1),
    "ls": lambda _c, _a, _g: _ok("dist\nnode_modules\npackage.json"),
    "pwd": lambda _c, _a, _g: _ok("/app"),
    "ps": lambda _c, _a, _g: _ok("PID   USER     TIME  COMMAND\n    1 node      0:07 node dist/index.js"),
}
