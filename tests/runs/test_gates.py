"""The awaited gate in a real kernel: a click, a refusal, a name to type, and nobody there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from file_platform import notebook
from kernels import Kernel, kernel

OPEN = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from file_platform import Store, Errors
from opslib import open_run
from opslib.records.change import Undo
store = Store(Path({store!r}))
"""
ACT = """
run = open_run("incident-response/p0", nouns={{"cluster": lambda: store}})
change = run.cluster.set_replicas({replicas})
{more}
result = await run.apply(change, verify=Errors((0.0, 50)))
run.finish()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "platform.json").write_text(json.dumps({"replicas": 2, "hash": "abc"}))
    notebook(home / "notebooks")
    return home


@pytest.fixture(scope="module")
def running(home: Path):
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("OPSLIB_")},
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "OPSLIB_NOTEBOOKS": str(home / "notebooks"),
        "OPSLIB_EVIDENCE": str(home / "evidence"),
    }
    with kernel(home, environ) as started:
        started.run(OPEN.format(tests=str(Path(__file__).parent), store=str(home / "platform.json")))
        yield started


def widgets_until_button(running: Kernel) -> dict[str, dict[str, Any]]:
    """The state of every widget the cell made, by comm id, once the gate is displayed."""
    models: dict[str, dict[str, Any]] = {}
    while True:
        message = running.next()
        content = message["content"]
        if message["msg_type"] == "comm_open":
            models[content["comm_id"]] = content["data"]["state"]
        if (
            message["msg_type"] == "display_data"
            and "application/vnd.jupyter.widget-view+json" in content["data"]
        ):
            return models


def send(running: Kernel, comm: str, data: dict[str, Any]) -> None:
    """What a front end sends for a widget."""
    session = running.client.session
    running.client.shell_channel.send(session.msg("comm_msg", {"comm_id": comm, "data": data}))


def comm_of(models: dict[str, dict[str, Any]], kind: str, words: str = "") -> str:
    return next(
        comm
        for comm, state in models.items()
        if state["_model_name"] == kind and words in state.get("description", "")
    )


def outcome(messages: list[dict[str, Any]]) -> dict[str, Any]:
    records = [
        message["content"]["data"].get("application/vnd.opslib.record+json", {})
        for message in messages
        if message["msg_type"] == "display_data"
    ]
    return next(record for record in records if record.get("kind") == "outcome")


def replicas(home: Path) -> int:
    return int(json.loads((home / "platform.json").read_text())["replicas"])


def test_click_confirms(running, home):
    sent = running.start(ACT.format(replicas=4, more=""), stdin=True)
    models = widgets_until_button(running)
    assert replicas(home) == 2
    face = next(state["value"] for state in models.values() if state["_model_name"] == "HTMLModel")
    assert "replicas" in face and "&lt;b&gt;only&lt;/b&gt;" in face
    send(
        running,
        comm_of(models, "ButtonModel", "Confirm"),
        {"method": "custom", "content": {"event": "click"}},
    )
    assert outcome(running.until_idle(sent))["outcome"] == "mitigated"
    assert replicas(home) == 4


def test_refusal_changes_nothing(running, home):
    sent = running.start(ACT.format(replicas=7, more=""), stdin=True)
    models = widgets_until_button(running)
    send(
        running, comm_of(models, "ButtonModel", "Refuse"), {"method": "custom", "content": {"event": "click"}}
    )
    assert outcome(running.until_idle(sent))["outcome"] == "proposed"
    assert replicas(home) == 4


@pytest.mark.parametrize(
    ("typed", "expected", "after"), [("yes", "proposed", 4), ("api-gateway", "mitigated", 8)]
)
def test_change_without_undo_asks_for_the_targets_name(running, home, typed, expected, after):
    sent = running.start(ACT.format(replicas=8, more="change.undo_kind = Undo.NONE"), stdin=True)
    question = running.client.get_stdin_msg(timeout=40)
    assert "api-gateway" in question["content"]["prompt"]
    running.client.input(typed)
    assert outcome(running.until_idle(sent))["outcome"] == expected
    assert replicas(home) == after


def test_without_anybody_there_it_proposes(running, home):
    messages = running.run(ACT.format(replicas=3, more=""))
    assert outcome(messages)["outcome"] == "proposed"
    assert not [message for message in messages if message["msg_type"] == "comm_open"]
    assert replicas(home) == 8
