"""Secrets planted everywhere a notebook could show them: none leaves the kernel."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.parse
from pathlib import Path

import pytest
from file_platform import notebook
from kernels import Kernel, kernel

ENVIRONMENT = "env-secret-7Yq2mPz9"
KUBECONFIG = "kube-token-Ab3Cd5Ef7Gh9Ij1"
LIBPQ = "pgpass-secret:with/odd&chars%21"
URL = "url-secret-Xk42pQ7w"
REGISTERED = "registered-Zz81Lm03nn"
SECRETS = (ENVIRONMENT, KUBECONFIG, LIBPQ, URL, REGISTERED)

OPEN = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from file_platform import Store
from opslib import open_run
store = Store(Path({store!r}))
run = open_run("incident-response/p0", nouns={{"cluster": lambda: store}})
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    (home / "platform.json").write_text(json.dumps({"replicas": 2, "hash": "abc"}))
    notebook(home / "notebooks")
    config = {"users": [{"name": "me", "user": {"token": KUBECONFIG}}]}
    (home / "kubeconfig").write_text(json.dumps(config))
    escaped = LIBPQ.replace("\\", "\\\\").replace(":", "\\:")
    (home / "pgpass").write_text(f"localhost:5432:airline_ops:app:{escaped}\n")
    (home / "pgpass").chmod(0o600)
    return {
        **{
            key: value for key, value in os.environ.items() if not key.startswith(("OPSLIB_", "PG", "PYTEST"))
        },
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "OPSLIB_NOTEBOOKS": str(home / "notebooks"),
        "OPSLIB_EVIDENCE": str(home / "evidence"),
        "KUBECONFIG": str(home / "kubeconfig"),
        "PGPASSFILE": str(home / "pgpass"),
        "SERVICE_API_TOKEN": ENVIRONMENT,
        "DATABASE_URL": f"postgresql://app:{URL}@localhost:5432/airline_ops",
    }


@pytest.fixture(scope="module")
def running(environ: dict[str, str]):
    home = Path(environ["HOME"])
    with kernel(home, environ) as started:
        opening = OPEN.format(tests=str(Path(__file__).parent), store=str(home / "platform.json"))
        replies = started.run(opening + f"run.secrets({REGISTERED!r})")
        assert [m for m in replies if m["msg_type"] == "error"] == [], started.text()
        # The cell's own source is echoed by the kernel before it knew the value.
        started.messages.clear()
        yield started


def run_and_search(running: Kernel, code: str, *secrets: str) -> str:
    """Run a cell that must not spell a secret itself; returns all it sent after checking it."""
    first = len(running.messages)
    running.run(code)
    text = "\n".join(json.dumps(message["content"], default=str) for message in running.messages[first:])
    for secret in secrets or SECRETS:
        for form in (secret, base64.b64encode(secret.encode()).decode(), urllib.parse.quote(secret, safe="")):
            assert form not in text, f"{form} in {text}"
    return text


NAMES = "import os, yaml, subprocess, sys; e = os.environ; s = [e['SERVICE_API_TOKEN'], e['DATABASE_URL'].split(':')[2].split('@')[0]]\n"


@pytest.mark.parametrize(
    "code",
    [
        "print(s)",
        "sys.stderr.write(s[0])",
        "s",
        "from IPython.display import display, HTML; display(HTML('<b>' + s[0] + '</b>'))",
        "raise RuntimeError('cannot log in with ' + s[0])",
        "os.write(1, s[0].encode()); os.write(2, s[1].encode())",
        "subprocess.run(['printenv', 'SERVICE_API_TOKEN'])",
        "!printenv DATABASE_URL SERVICE_API_TOKEN",
        "print(open(e['KUBECONFIG']).read(), open(e['PGPASSFILE']).read())",
        "import base64; print(base64.b64encode(s[0].encode()), base64.b64encode(b'user:' + s[0].encode()))",
        "import urllib.parse; print(urllib.parse.quote(s[1]))",
        "import logging; logging.error('token %s', s[0])",
        "run.note('connected with ' + s[0]); run.check('x' + s[1], 1, critical_above=2, because=s[0])",
        "import pandas as pd; run.note('rows', data=pd.DataFrame({'value': s})); pd.DataFrame({'value': s})",
        "h = display(s[0], display_id=True); h.update(s[1])",
        "import threading; t = threading.Thread(target=print, args=(s[0],)); t.start(); t.join()",
    ],
)
def test_no_message_holds_a_secret(running, code):
    assert "redacted" in run_and_search(running, NAMES + code)


@pytest.mark.parametrize(
    "code",
    [
        "for part in (s[0][:7], s[0][7:]): print(part, end='', flush=True); time.sleep(0.3)",
        "for part in (s[0][:7], s[0][7:]): os.write(1, part.encode()); time.sleep(0.3)",
        "print(s[0][:7], end='', flush=True); h.update('x'); print(s[0][7:], end='', flush=True)",
        "print('a line\\nthen ' + s[0][:5], end='', flush=True); time.sleep(0.3); print(s[0][5:], 'and more')",
    ],
)
def test_secret_split_over_flushes(running, code):
    first = len(running.messages)
    running.run(NAMES + "import time; h = display('y', display_id=True)\n" + code)
    parts = [m["content"]["text"] for m in running.messages[first:] if m["msg_type"] == "stream"]
    assert ENVIRONMENT not in "".join(parts)
    assert "[redacted]" in "".join(parts)


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("print('postgres://app:' + 'hunter2' + 'hunter2@db:5432/x')", "hunter2hunter2"),
        ("print('Authorization: ' + 'Bearer abcdef.ghijkl' + '.123')", "abcdef.ghijkl"),
        ("print('pass' + 'word=' + 'correct' + '-horse')", "correct-horse"),
        (
            "print('-----BEGIN ' + 'PRIVATE KEY-----\\nMIIEvQ' + 'IBADANBg\\n-----END PRIVATE KEY-----')",
            "MIIEvQIBADANBg",
        ),
        ("print('AKIA' + 'IOSFODNN7EXAMPLE')", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_patterns(running, code, gone):
    run_and_search(running, code, gone)


def test_ordinary_output_is_untouched_and_in_order(running):
    first = len(running.messages)
    running.run("print('one'); print('two', end=''); display('three'); print('four')")
    kinds = [
        m["content"].get("text") or m["content"]["data"]["text/plain"]
        for m in running.messages[first:]
        if m["msg_type"] in ("stream", "display_data")
    ]
    joined = "|".join(kinds).replace("one\n|two", "one\ntwo")
    assert joined == "one\ntwo|'three'|four\n"


def test_incomplete_line_is_shown_while_the_cell_runs_but_not_the_beginning_of_a_secret(running):
    sent = running.start(
        NAMES + "import time\nprint('50 % done ' + s[0][:9], end='', flush=True); time.sleep(4)"
    )
    message = running.next()
    while message["msg_type"] != "stream":
        message = running.next()
    assert message["content"]["text"] == "50 % done "
    rest = [m["content"]["text"] for m in running.until_idle(sent) if m["msg_type"] == "stream"]
    assert rest == [ENVIRONMENT[:9]]


def test_message_ids_are_unique(running):
    ids = [message["header"]["msg_id"] for message in running.messages]
    assert len(ids) == len(set(ids))


def test_no_secret_on_disk(running, environ):
    running.run("get_ipython().history_manager.writeout_cache()")
    home = Path(environ["HOME"])
    given = {home / "kubeconfig", home / "pgpass"}
    for path in home.rglob("*"):
        if path.is_file() and path not in given:
            data = path.read_bytes()
            for secret in (ENVIRONMENT, KUBECONFIG, LIBPQ, URL):
                assert secret.encode() not in data, path


def test_history_database_is_redacted(running, environ):
    running.run(
        f"x = 'pass' 'word'; password = '{ENVIRONMENT}'\nget_ipython().history_manager.writeout_cache()"
    )
    database = Path(environ["HOME"]) / "ipython" / "profile_default" / "history.sqlite"
    assert database.exists()
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select source, source_raw from history").fetchall()
    assert rows and ENVIRONMENT not in str(rows)
