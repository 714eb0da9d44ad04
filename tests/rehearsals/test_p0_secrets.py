"""Secrets planted wherever a run could pick one up appear in no byte that it leaves or shows, at no moment."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from opslib import runbooks

from .conftest import P0, Rehearsal

pytestmark = pytest.mark.rehearsal

PLANTED = {
    "environment": "pl4nted/env+Corr3ct%Horse",
    "address": "pl4nted-url-B4ttery",
    "passfile": "pl4nted-pgpass-St4ple",
    "registered": "pl4nted-vault-Z3bra",
    "line": "pl4nted-log-line-0riole",
    "object": "pl4nted-object-Qu4gga",
}
# What a careless author could write into a runbook, one cell each.
CELLS = [
    "import os, subprocess, sys\nsecret = os.environ['PAYMENT_API_KEY']\nprint('a', secret)",
    "print('b', secret[:11], end='', flush=True)\nprint(secret[11:])",
    "_ = os.write(1, f'c {secret}\\n'.encode())\n_ = os.write(2, f'd {secret}\\n'.encode())",
    "_ = subprocess.run(['sh', '-c', 'echo e $PAYMENT_API_KEY; echo $PAYMENT_API_KEY | base64 >&2'])",
    "import base64, urllib.parse\nprint('f', base64.b64encode(secret.encode()).decode(), urllib.parse.quote(secret, safe=''))",
    "import html\nfrom IPython.display import HTML\ndisplay(HTML(f'<b>g {html.escape(secret)}</b>'))\nsecret",
    "print('h', os.environ['DATABASE_URL'])\nprint('i', open(os.environ['PGPASSFILE']).read())",
    "vault = 'pl4nted' + '-vault' + '-Z3bra'\nrun.secrets(vault)\nprint('j', vault)\nrun.note('k', vault)",
    "line = 'pl4nted' + '-log-line' + '-0riole'\nprint(f'l level=info password={line} connected')",
    "held = base64.b64encode(('pl4nted' + '-object' + '-Qu4gga').encode()).decode()\n"
    "display({'kind': 'Secret', 'data': {'password': held}})\nprint('m', f'password: {held}')\n"
    "run.note('n', data=None, because=f'token={held}')",
    "import pandas as pd\nrun.note('o', data=pd.DataFrame([{'env': secret, 'url': os.environ['DATABASE_URL']}]))",
    "import logging\nlogging.getLogger('careless').error('p %s', secret)\nopen(secret[:0] or '/dev/null', 'w').write(secret)",
]
LAST = "def log_in(password):\n    raise ValueError(f'q cannot log in with {password}')\nlog_in(secret)"


def needles() -> list[bytes]:
    """The planted values and the forms in which they could hide."""
    found: set[str] = set()
    for value in PLANTED.values():
        encoded = base64.b64encode(value.encode()).decode()
        found |= {value, encoded, quote(value, safe=""), quote_plus(value), encoded.rstrip("=")[:-1]}
    return [each.encode() for each in found]


class Watch(threading.Thread):
    """Reads every file below some folders, and the command lines of a family of processes, again and again."""

    def __init__(self, folders: Iterable[Path], mark: str) -> None:
        super().__init__(daemon=True)
        self.folders, self.mark = list(folders), mark.encode()
        self.needles = needles()
        self.seen: set[str] = set()
        self.rounds, self.lines = 0, 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.look()
            time.sleep(0.02)

    def look(self) -> None:
        """One round."""
        for folder in self.folders:
            for place, _, names in os.walk(folder):
                for name in names:
                    self._judge(Path(place, name))
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark in (entry / "environ").read_bytes():
                    self.lines += 1
                    self._judge(entry / "cmdline")
            except OSError:
                continue
        self.rounds += 1

    def _judge(self, path: Path) -> None:
        try:
            if path.is_fifo() or path.is_socket():
                return
            data = path.read_bytes()
        except OSError:
            return
        self.seen |= {f"{path}: {each.decode()}" for each in self.needles if each in data}


def outputs(notebook: Any) -> str:
    """What the planted cells showed, as text."""
    shown = [o for c in notebook["cells"] if c.get("id", "").startswith("planted") for o in c["outputs"]]
    parts = [part for o in shown for part in (o.get("text", ""), o.get("data", {}).get("text/plain", ""))]
    html = [o.get("data", {}).get("text/html", "") for o in shown]
    return "\n".join("".join(part) for part in (*parts, *html))


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """A folder with the P0 runbook, into which somebody wrote cells that show secrets."""
    notebook = json.loads(runbooks.load(P0).path.read_text())
    cells = [
        {"cell_type": "code", "id": f"planted-{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
        for i, text in enumerate([*CELLS, LAST])
    ]  # fmt: skip
    notebook["cells"][-1:-1] = cells
    target = tmp_path / "books" / f"{P0}.ipynb"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(notebook))
    return tmp_path / "books"


def test_no_planted_secret_appears_anywhere(rehearsal: Rehearsal, careless: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for folder in (home, temporary, rehearsal.evidence):
        folder.mkdir()
    own = Path(rehearsal.environ["PGPASSFILE"]).read_text()
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"{own.rstrip()}\ndb.example.org:5432:*:app:{PLANTED['passfile']}\n")
    passfile.chmod(0o600)
    rehearsal.environ.update(
        HOME=str(home),
        TMPDIR=str(temporary),
        OPSLIB_NOTEBOOKS=str(careless),
        PAYMENT_API_KEY=PLANTED["environment"],
        DATABASE_URL=f"postgresql://app:{PLANTED['address']}@db.example.org/airline_ops",
        PGPASSFILE=str(passfile),
        OPSLIB_REHEARSAL=tmp_path.name,
    )
    # ipykernel does not watch the file descriptors of a kernel that pytest seems to have started.
    for name in [name for name in rehearsal.environ if name.startswith(("XDG_", "PYTEST_"))]:
        del rehearsal.environ[name]
    watch = Watch([rehearsal.evidence, home, temporary], f"OPSLIB_REHEARSAL={tmp_path.name}")
    watch.start()
    ran = rehearsal.run()
    watch.over.set()
    watch.join()
    # Who types a secret shows it to every process, before we can refuse it: from here on, files only.
    refused = rehearsal.opslib("run", P0, "-p", "host", f"x{PLANTED['address']}")
    typed = rehearsal.opslib("run", P0, "-p", "incident", f"INC-{PLANTED['passfile']}")
    watch.look()

    assert ran.status == 3 and "cannot log in with" in ran.body["cause"], ran.body
    assert watch.rounds > 10 and watch.lines > 10, "nobody watched"
    assert watch.seen == set()
    shown = (
        json.dumps(ran.body)
        + ran.stderr
        + "".join((refused.stdout, refused.stderr, typed.stdout, typed.stderr))
    )
    assert [each for each in needles() if each.decode() in shown] == []
    assert refused.returncode == typed.returncode == 2, (refused, typed)
    assert len(list(rehearsal.evidence.glob("*/*/run.json"))) == 1, "a refused run left files"
    # every cell ran, and what it showed is there, masked
    whole = Path(ran.body["notebook"]).read_text()
    told = outputs(json.loads(whole))
    assert [
        letter for letter in "abcdefghijklmnop" if not re.search(rf"(?m)(^|[ >]){letter}([ :]|$)", told)
    ] == []
    assert "q cannot log in with [redacted]" in whole
    page = subprocess.run(
        [sys.executable, "-m", "opslib.cli", "archive", "show", ran.id],
        capture_output=True, text=True, env=rehearsal.environ, check=False,
    )  # fmt: skip
    assert [each for each in needles() if each.decode() in page.stdout + page.stderr] == []
