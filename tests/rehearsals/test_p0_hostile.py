"""What the platform says is data: markup in logs, image names and events is inert, passwords in them are masked."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .conftest import Look, Ran, Rehearsal
from .witness import until

pytestmark = pytest.mark.rehearsal

SCRIPT = "<script>document.title='hit-log'</script>"
IMAGE = "gcr.io/pss-nano/<img src=x onerror=document.title='hit-image'>:v1"
URL_PASSWORD, WINSTON_PASSWORD = "pl4nted-in-a-url", "pl4nted-in-winston"
SAID = f"{SCRIPT} DATABASE_URL=postgresql://app:{URL_PASSWORD}@db:5432/airline_ops password={WINSTON_PASSWORD} end"


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def active(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """The elements that could run or fetch something."""
    return [
        (tag, attributes)
        for tag, attributes in Elements(text).found
        if tag in ("script", "iframe", "object", "embed", "base", "form")
        or any(name.startswith("on") for name in attributes)
        or any((attributes.get(name) or "").lower().startswith("javascript:") for name in ("href", "src"))
        or (tag == "img" and not (attributes.get("src") or "").startswith("data:image/"))
    ]


@pytest.fixture
def hostile(rehearsal: Rehearsal, look: Look, kubectl) -> Ran:
    """A run over a platform whose logs, images and events hold markup and passwords."""
    app, here = "pss-nano-production", ("-n", "pss-nano")
    paused = json.dumps({"spec": {"syncPolicy": {"automated": None}}})
    kubectl("patch", "application", app, "-n", "argocd", "--type=merge", "-p", paused)
    kubectl("set", "image", "deployment/payment-service", f"*={IMAGE}", *here)
    setting = json.dumps({"data": {"JWT_EXPIRY": SAID}})
    kubectl("patch", "configmap", "api-gateway", "--type=merge", "-p", setting, *here)
    kubectl("delete", "pods", "-l", "app.kubernetes.io/name=api-gateway", "--force", *here)

    def crashed() -> bool:
        pods = look("pods", "-l", "app.kubernetes.io/name=api-gateway")["items"]
        states = [each for pod in pods for each in pod["status"].get("containerStatuses", [])]
        return len(states) > 0 and all(each.get("restartCount", 0) >= 1 for each in states)

    until("the gateway's crash", crashed)
    ran = rehearsal.run()
    assert ran.status == 5, ran.body
    assert any("pods-crash" in cause for cause in ran.causes), ran.causes
    return ran


def test_markup_is_inert_and_passwords_are_masked(hostile: Ran) -> None:
    notebook = Path(hostile.body["notebook"])
    page = Path(hostile.body["page"])
    said = json.dumps(hostile.records)
    assert "hit-log" in said, "the log line did not reach the evidence"
    assert "hit-image" in said, "the image's name did not reach the evidence"
    assert active(page.read_text()) == []
    faces = [
        "".join(output["data"]["text/html"])
        for cell in hostile.notebook["cells"]
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert any("hit-log" in face for face in faces)
    assert [found for face in faces for found in active(face)] == []
    everything = b"".join(path.read_bytes() for path in notebook.parent.rglob("*") if path.is_file())
    for password in (URL_PASSWORD, WINSTON_PASSWORD):
        assert password.encode() not in everything
        assert password not in json.dumps(hostile.body) + hostile.stderr
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    from tests.browser.lab import chromium

    with chromium() as browser:
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_load_state("load")
        assert "hit" not in tab.title()
        assert "hit-log" in tab.inner_text("body")
        assert tab.evaluate("document.scripts.length") == 0
