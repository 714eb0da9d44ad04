"""Secrets reach no byte, huge outputs are capped, platform text is inert, a changed byte is found."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from evidence_bench import HEALTHY, Bench, read, text

from opslib.errors import ParameterError
from opslib.evidence import archive
from opslib.evidence.inert import inert
from opslib.evidence.streams import CAP, StreamOutput

SECRET = "hunter2-Corr3ct-Horse"


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_secret_of_the_environment_reaches_no_byte(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, ipykernel does not watch the file descriptors
    cells = (
        "import os; secret = os.environ['DB_PASSWORD']\nprint(secret)",
        "print(secret[:9], end='', flush=True)\nprint(secret[9:])",
        "import subprocess; _ = subprocess.run(['echo', secret]); os.write(1, b'written ' + secret.encode())",
        "import base64; print(base64.b64encode(secret.encode()).decode())",
        "from IPython.display import HTML; HTML(f'<b>{secret}</b>')",
        "raise ValueError(f'cannot log in with {secret}')",
    )
    result = bench.run(*cells)
    everything = _bytes(bench.evidence)
    assert SECRET.encode() not in everything
    assert base64.b64encode(SECRET.encode()) not in everything
    assert b"cannot log in with" in everything
    assert b"written [redacted]" in everything
    assert SECRET not in result.about.cause
    assert "redacted" in text(read(result.notebook))


def test_a_secret_as_a_parameter_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    with pytest.raises(ParameterError, match="looks like, a secret") as raised:
        bench.run(HEALTHY, parameters=[("service", SECRET)])
    assert SECRET not in str(raised.value)
    with pytest.raises(ParameterError, match="looks like, a secret"):
        bench.run(HEALTHY, parameters=[("service", "postgres://app:s3cr3t-word@db/x")])
    assert not bench.evidence.exists()


def test_a_secret_over_two_pieces_of_a_long_stream() -> None:
    from nbformat.v4 import new_output

    node = new_output("stream", name="stdout", text="")
    stream = StreamOutput(
        node, lambda value: value.replace(SECRET, "[redacted]"), lambda: pytest.fail("no side file")
    )
    for piece in ("x" * 100, SECRET[:4], SECRET[4:], "\n"):
        stream.add(piece)
    stream.close()
    assert node.text == "x" * 100 + "[redacted]\n"


def test_a_huge_output_is_capped_and_whole_in_a_side_file(bench: Bench) -> None:
    result = bench.run("for line in range(200_000): print(f'line {line}')", HEALTHY)
    assert result.notebook.stat().st_size < 3 * CAP
    shown = text(read(result.notebook))
    side = result.folder / re.findall(r"outputs/\S+\.txt", shown)[-1]
    data = side.read_bytes()
    assert data.decode() == "".join(f"line {line}\n" for line in range(200_000))
    assert hashlib.sha256(data).hexdigest() in shown
    assert shown.startswith("line 0\n") and shown.endswith("line 199999\n")


def test_a_huge_display_is_capped(bench: Bench) -> None:
    result = bench.run("from IPython.display import HTML; HTML('<p>' + 'a' * 3_000_000 + '</p>')", HEALTHY)
    assert result.notebook.stat().st_size < 1_000_000
    assert sum(path.stat().st_size for path in (result.folder / "outputs").iterdir()) > 3_000_000


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<iframe src='https://example.org'></iframe>",
    "<p style='background:url(https://example.org/x)'>x</p>",
    "<p style='background:u\\72l(//example.org/x)'>x</p>",
    "<img src='https://example.org/x.png'>",
    "<form action='https://example.org'><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<!--><script>alert(1)</script>-->",
    "<style>*{background:url(https://example.org)}</style><link rel=stylesheet href=//example.org>",
    "<scr<script>ipt>alert(1)</script>",
    "<p title='\"><script>alert(1)</script>'>x</p>",
    "<p\nonclick\n=alert(1)>x</p>",
    "<style><script>alert(1)</script></style><script>x</script>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_html_is_inert(hostile: str) -> None:
    clean = inert(f"<div>before {hostile} after</div>")
    tags = re.findall(r"<\s*/?\s*([a-zA-Z]+)([^>]*)>", clean)
    assert not {name.lower() for name, _ in tags} & {
        "script",
        "svg",
        "iframe",
        "form",
        "meta",
        "link",
        "style",
        "button",
    }
    for _, attributes in tags:
        assert not re.search(r"\bon\w+\s*=|javascript:|&#|url\s*\(|example\.org", attributes, re.I), clean
    assert "before" in clean and "after" in clean


def test_plain_html_is_left_alone() -> None:
    table = '<table border="1" class="dataframe"><tr><th style="text-align: right">a</th></tr></table><img alt="p" src="data:image/png;base64,AAAA">'
    assert inert(table) == table


def test_the_page_runs_nothing_and_fetches_nothing(bench: Bench) -> None:
    script = "<script>alert(1)</script>"
    result = bench.run(
        f"print({script!r})",
        f"from IPython.display import HTML; HTML({script!r})",
        f"raise ValueError({script!r})",
    )
    assert result.page is not None
    page = result.page.read_text()
    assert "<script" not in page.lower()
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", page)


def test_any_changed_byte_is_found(bench: Bench) -> None:
    result = bench.run("print('x')", HEALTHY)
    assert archive.verify(bench.evidence) == (1, [])
    files = [path for path in result.folder.rglob("*") if path.is_file()] + [bench.evidence / "seals.jsonl"]
    assert {path.suffix for path in files} >= {".ipynb", ".html", ".json", ".jsonl"}
    for path in files:
        good = path.read_bytes()
        for place in (0, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            assert archive.verify(bench.evidence)[1], f"byte {place} of {path.name}"
        path.write_bytes(good)
    (result.folder / "added.txt").write_text("x")
    assert archive.verify(bench.evidence)[1]
    (result.folder / "added.txt").unlink()
    assert archive.verify(bench.evidence) == (1, [])


def test_a_seal_cannot_be_taken_out(bench: Bench) -> None:
    for _ in range(3):
        bench.run(HEALTHY)
    seals = bench.evidence / "seals.jsonl"
    lines = seals.read_bytes().splitlines(keepends=True)
    seals.write_bytes(lines[0] + lines[2])
    count, problems = archive.verify(bench.evidence)
    assert count == 2
    assert any("removed" in problem for problem in problems)
    assert any("never sealed" in problem for problem in problems)
    seals.write_bytes(b"".join(lines[:2]))
    assert any("never sealed" in problem for problem in archive.verify(bench.evidence)[1])


def test_found_by_the_beginning_of_its_id(bench: Bench) -> None:
    result = bench.run(HEALTHY)
    run = result.about.run
    status, out, _ = bench.opslib("archive", "show", run[:12], "--json", "--evidence", str(bench.evidence))
    assert status == 0
    assert json.loads(out)["run"] == run
    status, _, err = bench.opslib("archive", "show", "ZZZZ", "--evidence", str(bench.evidence))
    assert status == 2 and "no run" in err
