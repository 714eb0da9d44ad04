"""Which runbooks there are, and one of them loaded.

On the fast path of `opslib run`: plain JSON and no nbformat, so that the kernel starts early.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib.errors import RunbookError
from opslib.runbooks import front, parameters
from opslib.runbooks.front import FrontMatter
from opslib.runbooks.parameters import ParameterSpec, Value

VARIABLE = "OPSLIB_NOTEBOOKS"  # more folders with runbooks, looked at first; os.pathsep between them


@dataclass(frozen=True)
class Runbook:
    """A notebook seen as a runbook."""

    name: str  # chapter/procedure
    path: Path
    front: FrontMatter
    parameters: list[ParameterSpec]
    notebook: Mapping[str, Any]  # the notebook's JSON as it was read

    @property
    def title(self) -> str:
        """The title of the procedure."""
        return self.front.title

    @property
    def severity(self) -> str:
        """P0 to P3."""
        return self.front.severity

    @property
    def slug(self) -> str:
        """The last part of the name, fit for a file name."""
        return self.name.rsplit("/", 1)[-1]

    def validate(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter with its value; raises ParameterError (see `parameters.validate`)."""
        return parameters.validate(self.parameters, values, where=self.name)

    def convert(self, texts: Sequence[tuple[str, str]]) -> dict[str, Value]:
        """Typed values of the parameters given as text; raises ParameterError (see `parameters.convert`)."""
        return parameters.convert(self.parameters, texts, where=self.name)


def roots() -> list[Path]:
    """The folders with runbooks: $OPSLIB_NOTEBOOKS, then the checkout's or the installed package's."""
    named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "notebooks"
    own = checkout if (package.parent / "pyproject.toml").is_file() else package / "notebooks"
    return [folder for folder in (*named, own) if folder.is_dir()]


def names() -> list[str]:
    """The names of all runbooks, sorted."""
    return sorted(files())


def load(name: str) -> Runbook:
    """The runbook `chapter/procedure`, `procedure` when only one chapter has it, or a path to an .ipynb file.

    Raises RunbookError when there is none, or it is not a well-formed runbook.
    """
    if name.endswith(".ipynb"):
        path = Path(name).resolve()
        if not path.is_file():
            raise RunbookError("there is no such notebook", target=name)
        return read(path, name_of(path))
    known = files()
    if name in known:
        return read(known[name], name)
    short = [full for full in known if full.rsplit("/", 1)[-1] == name]
    if len(short) == 1:
        return read(known[short[0]], short[0])
    if short:
        raise RunbookError(f"{name!r} is ambiguous: {', '.join(sorted(short))}", next="give the whole name")
    near = difflib.get_close_matches(name, [*known, *(full.rsplit("/", 1)[-1] for full in known)], n=1)
    raise RunbookError(
        f"there is no runbook {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        next="`opslib list` shows them all",
    )


def read(path: Path, name: str) -> Runbook:
    """The notebook file as a runbook. Raises RunbookError, naming what is wrong with it."""
    notebook = read_notebook(path, name)
    cells = notebook["cells"]
    first = cells[0] if cells else {}
    if first.get("cell_type") != "raw":
        raise RunbookError("the first cell must be a raw one with the front matter", target=name)
    matter = front.parse(text(first), where=name)
    tagged = [cell for cell in cells if "parameters" in tags(cell)]
    if len(tagged) != 1 or tagged[0].get("cell_type") != "code":
        raise RunbookError(
            f"a runbook needs one code cell tagged 'parameters'; this one has {len(tagged)}", target=name
        )
    specs = parameters.parse_cell(text(tagged[0]), matter.parameters, where=name)
    return Runbook(name, path, matter, specs, notebook)


def read_notebook(path: Path, name: str) -> dict[str, Any]:
    """The JSON of a notebook of format 4. Raises RunbookError when the file is not one."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunbookError(f"the notebook cannot be read: {error}", target=name) from error
    whole = (
        isinstance(notebook, dict)
        and notebook.get("nbformat") == 4
        and isinstance(notebook.get("cells"), list)
    )
    if not whole:
        raise RunbookError("the file is not a notebook of format 4", target=name)
    return notebook  # type: ignore[no-any-return]


def every() -> Iterator[Runbook | RunbookError]:
    """All runbooks in order of name; for one that is not well-formed, the error that says why."""
    for name, path in sorted(files().items()):
        try:
            yield read(path, name)
        except RunbookError as error:
            yield error


def for_alert(alert: str) -> list[Runbook]:
    """The runbooks whose front matter lists the alert, most severe first."""
    found = [book for book in every() if isinstance(book, Runbook) and alert in book.front.alerts]
    return sorted(found, key=lambda book: (book.severity, book.name))


def text(cell: Mapping[str, Any]) -> str:
    """The source of a cell as one string."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def tags(cell: Mapping[str, Any]) -> list[str]:
    """The tags of a cell."""
    found = (cell.get("metadata") or {}).get("tags")
    return found if isinstance(found, list) else []


def files() -> dict[str, Path]:
    """The notebook file of every runbook, by name; a folder named first wins."""
    found: dict[str, Path] = {}
    for root in roots():
        for path in sorted(root.glob("*/*.ipynb")):
            if path.parent.name != ".ipynb_checkpoints":
                found.setdefault(f"{path.parent.name}/{path.stem}", path.resolve())
    return found


def name_of(path: Path) -> str:
    """The name of a notebook file: chapter and procedure below a folder of runbooks, else the file name."""
    for root in roots():
        if path.is_relative_to(root.resolve()):
            return path.relative_to(root.resolve()).with_suffix("").as_posix()
    return path.stem
