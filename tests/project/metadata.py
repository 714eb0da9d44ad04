"""What pyproject.toml, constraints.txt and environment.yml say, read for the tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]

# conda-forge's names where they differ from PyPI's
CONDA_NAMES = {"python-kubernetes": "kubernetes", "redis-py": "redis", "matplotlib-base": "matplotlib"}


def pyproject() -> dict:
    """pyproject.toml as a table."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(*extras: str) -> dict[str, Requirement]:
    """Requirements of the package itself and of these extras, by canonical name."""
    project = pyproject()["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


def all_extras() -> list[str]:
    """The names of all extras."""
    return list(pyproject()["project"]["optional-dependencies"])


def constraints() -> dict[str, Version]:
    """constraints.txt: one exact version a name. Raises when a line is anything else."""
    pinned: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = Requirement(line)
        (specifier,) = found.specifier
        assert specifier.operator == "==", f"not an exact pin: {line}"
        assert not found.url, f"an address: {line}"
        name = canonicalize_name(found.name)
        assert name not in pinned, f"{name} is pinned twice"
        pinned[name] = Version(specifier.version)
    return pinned


def conda() -> dict[str, Requirement]:
    """environment.yml: its requirements under PyPI's names, without python, pip and the package itself."""
    table = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines: list[str] = []
    for entry in table["dependencies"]:
        lines += entry["pip"] if isinstance(entry, dict) else [entry]
    found = [Requirement(line) for line in lines if not line.startswith("-e ")]
    names = {canonicalize_name(CONDA_NAMES.get(entry.name, entry.name)): entry for entry in found}
    return {name: entry for name, entry in names.items() if name not in {"python", "pip"}}
