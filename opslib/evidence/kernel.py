"""The kernel of a run, started before anything heavy is imported.

Starting a kernel costs half a second and importing papermill as much; `opslib run` does both at once. The connection
is a Unix socket in a private folder: no port race (LESSONS.md 1.10), no traffic on TCP.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client import AsyncKernelManager

LONGEST = 95  # a Unix socket path holds 107 bytes; some go to the sockets' own names
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
# No history database (it would hold every cell's source), and no question at the terminal.
ARGUMENTS = ("--HistoryManager.enabled=False",)


class EarlyKernel:
    """A running ipykernel that jupyter_client has not met yet; `manager()` introduces them."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self.home = _home()
        self._stderr = os.memfd_create("kernel-stderr") if hasattr(os, "memfd_create") else -1
        self.info: dict[str, Any] = {
            "transport": "ipc",
            "ip": str(self.home / "k"),
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **{port: number for number, port in enumerate(PORTS, 1)},
        }
        self.file = self.home / "kernel.json"
        self.file.touch(mode=0o600)
        self.file.write_text(json.dumps(self.info))
        errors = self._stderr if self._stderr >= 0 else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [sys.executable, "-m", "opslib.evidence.kernel_app", "-f", str(self.file), *ARGUMENTS],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env={**environ, "JPY_PARENT_PID": str(os.getpid()), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            cwd=folder,
            start_new_session=True,
        )

    def manager(self) -> AsyncKernelManager:
        """A kernel manager that owns this process."""
        from jupyter_client import AsyncKernelManager
        from jupyter_client.provisioning import LocalProvisioner

        manager = AsyncKernelManager(connection_file=str(self.file), kernel_name="python3")
        manager.load_connection_info(self.info)
        provisioner = LocalProvisioner(kernel_id="opslib", kernel_spec=manager.kernel_spec, parent=manager)
        provisioner.process = self.process
        provisioner.pid = provisioner.pgid = self.process.pid
        provisioner.connection_info = manager.get_connection_info()
        manager.provisioner = provisioner
        return manager

    def last_words(self, limit: int = 4000) -> str:
        """The end of what the process itself wrote on stdout and stderr (a crash's trace, for instance)."""
        if self._stderr < 0:
            return ""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, limit, max(0, size - limit)).decode(errors="replace").strip()

    def end(self) -> None:
        """End the kernel and everything it started, and remove its private folder. May be called twice."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1


def _home() -> Path:
    """A private folder for the sockets, whose paths may be no longer than some hundred bytes."""
    folder = Path(tempfile.mkdtemp(prefix="opslib-"))
    if len(os.fsencode(folder)) <= LONGEST:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="opslib-", dir="/tmp"))


def cause_of_death(status: int | None) -> str:
    """A process' end in words, from its Popen return code."""
    if status is None:
        return "its process is still there"
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}" + (", as the kernel does when memory runs out" if name == "SIGKILL" else "")
