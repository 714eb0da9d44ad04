"""Witnesses of a rehearsal that are not our own code: the API's audit log, processes, a proxy that holds a request."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
PATIENCE = 60.0
READING = {"get", "list", "watch", ""}  # '': discovery and /version name no resource
REVIEWS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}


def until(what: str, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer of `look`; fails, saying what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds:g} s for {what}")


class Audit:
    """What the API server was asked from a moment on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kube" / "audit.jsonl"
        self.begin = self.path.stat().st_size

    def events(self, user: str = "") -> list[Json]:
        """Every request since, of one user when named."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            lines = file.read().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines]
        return [each for each in found if not user or each["user"].get("username") == user]

    def writes(self, user: str = "", resource: str = "") -> list[Json]:
        """The requests that changed something: no reviews, no dry runs, none that was refused."""
        return [
            each
            for each in self.events(user)
            if each["verb"] not in READING
            and each.get("objectRef", {}).get("resource") not in REVIEWS
            and "dryRun=" not in each["requestURI"]
            and each["responseStatus"]["code"] < 400
            and (not resource or each.get("objectRef", {}).get("resource") == resource)
        ]


def scraped(prometheus: str) -> None:
    """Wait until Prometheus has scraped every target once: after a restore it begins anew."""

    def look() -> bool:
        with urllib.request.urlopen(f"{prometheus}/api/v1/targets?state=active", timeout=5) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        return bool(targets) and all(each["health"] != "unknown" for each in targets)

    until("the first scrape of every target", look)


class Started:
    """A command of ours that runs, in a process group of its own."""

    def __init__(self, words: list[str], environ: dict[str, str], evidence: Path) -> None:
        self.evidence = evidence
        self._before = set(self._journals())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opslib.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
            start_new_session=True,
        )

    def _journals(self) -> list[Path]:
        return sorted(self.evidence.glob("*/*/journal.jsonl"))

    @property
    def folder(self) -> Path:
        """Where this run keeps its evidence; waits until there is a journal."""
        return until("a journal", lambda: [p for p in self._journals() if p not in self._before])[0].parent

    @property
    def id(self) -> str:
        return self.folder.name[-26:]

    def entries(self) -> list[Json]:
        """The journal's whole lines so far."""
        lines = (self.folder / "journal.jsonl").read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def reaches(self, entry: str) -> Json:
        """Waits until the journal has an entry of this kind."""

        def look() -> Any:
            found = [each for each in self.entries() if each["entry"] == entry]
            assert found or self.process.poll() is None, (
                f"ended before {entry!r}: {self.process.communicate()}"
            )
            return found

        return until(f"{entry!r} in the journal", look)[0]

    def kernel(self) -> int:
        """The pid of its kernel."""
        return int(json.loads((self.folder / "run.json").read_text())["kernel"])

    def kill(self) -> None:
        """kill -9 of the runner and of its kernel, with whatever they started, at once."""
        kernel = self.kernel()
        for group in (self.process.pid, kernel):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.communicate()
        until("the kernel's end", lambda: not alive(kernel))

    def signal(self, number: int) -> subprocess.CompletedProcess[str]:
        """Send a signal to the runner alone; returns when it has ended."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        out, err = self.process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)


def alive(pid: int) -> bool:
    """Whether the process is there and not only waits to be collected."""
    try:
        return not re.search(r"\) [ZX] ", Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return False


class Holding:
    """A TLS proxy before the API server that holds one request: before it is passed on, or its answer."""

    def __init__(self, folder: Path, wanted: Callable[[str, str], bool], *, answer: bool) -> None:
        self.reached = threading.Event()
        self.freed = threading.Event()
        url = urlsplit(json.loads((folder / "kube" / "address.json").read_text())["url"])
        here, client = self, ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def pass_on(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else None
                held = wanted(self.command, self.path) and not here.reached.is_set()
                if held and not answer:
                    here.hold()
                there = http.client.HTTPSConnection(url.hostname or "", url.port, context=client, timeout=30)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                there.request(self.command, self.path, body, headers)
                said = there.getresponse()
                data = said.read()
                there.close()
                if held and answer:
                    here.hold()
                self.send_response_only(said.status)
                for key, value in said.getheaders():
                    if key.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pki" / "api.crt", folder / "pki" / "api.key")
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def hold(self) -> None:
        self.reached.set()
        if not self.freed.wait(PATIENCE):
            raise TimeoutError
        raise ConnectionAbortedError  # whoever asked is dead: nothing goes on

    def close(self) -> None:
        self.freed.set()
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def holding(
    folder: Path, kubeconfig: Path, wanted: Callable[[str, str], bool], *, answer: bool
) -> Iterator[Holding]:
    """A proxy, and a kubeconfig that leads through it."""
    proxy = Holding(folder, wanted, answer=answer)
    text = (folder / "kubeconfig").read_text()
    kubeconfig.write_text(re.sub(r"https://127\.0\.0\.1:\d+", f"https://127.0.0.1:{proxy.port}", text))
    try:
        yield proxy
    finally:
        proxy.close()


def patches(resource: str) -> Callable[[str, str], bool]:
    """Whether a request is a real PATCH of a resource."""
    return lambda method, path: method == "PATCH" and f"/{resource}/" in path and "dryRun=" not in path
