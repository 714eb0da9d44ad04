"""The three lists of dependencies say the same."""

from __future__ import annotations

import importlib
import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.project.metadata import ROOT, all_extras, conda, constraints, pyproject, requirements


def test_environment_yml_has_the_pins_of_pyproject() -> None:
    wanted = {name: (entry.specifier, entry.extras) for name, entry in requirements("lab", "sandbox").items()}
    assert {name: (entry.specifier, entry.extras) for name, entry in conda().items()} == wanted


def test_environment_yml_asks_for_the_same_python_and_installs_the_package() -> None:
    table = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert (table["name"], table["channels"]) == ("opslib", ["conda-forge"])
    (python,) = [entry for entry in table["dependencies"] if str(entry).startswith("python>")]
    assert Requirement(python).specifier == SpecifierSet(pyproject()["project"]["requires-python"])
    assert "-e ." in table["dependencies"][-1]["pip"]


def test_constraints_satisfy_pyproject() -> None:
    pinned = constraints()
    wrong = {
        name: f"{pinned[name]} is not {entry.specifier}"
        for name, entry in requirements(*all_extras()).items()
        if name in pinned and pinned[name] not in entry.specifier
    }
    assert wrong == {}


def test_constraints_cover_everything_that_an_install_brings() -> None:
    """Walks the dependencies of what is installed, so that no release of tomorrow comes in unseen."""
    pinned, seen = constraints(), set()
    queue = [(name, frozenset(entry.extras)) for name, entry in requirements(*all_extras()).items()]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                queue.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    assert sorted({name for name, _ in seen} - set(pinned)) == []


@pytest.mark.parametrize(
    "name", ["constraints.txt", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"]
)
def test_no_file_names_a_place_to_fetch_from(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"https?://\S+|file://\S+|--(?:extra-)?index-url\S*|--find-links\S*", text) == []


def test_every_console_script_and_entry_point_can_be_imported() -> None:
    importlib.import_module("papermill")  # it loads its entry points while it is itself imported
    project = pyproject()["project"]
    points = [*project["scripts"].values()]
    for group in project["entry-points"].values():
        points += group.values()
    for point in points:
        metadata.EntryPoint("name", point, "group").load()
