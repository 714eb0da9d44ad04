"""What a run needs before its first step: parameters, folder, identity, and the cluster it is really on."""

from __future__ import annotations

import getpass
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from opslib.errors import EvidenceError, WrongCluster
from opslib.records.ids import is_id, new_id
from opslib.records.model import now
from opslib.runs.reading import Read, make_all

if TYPE_CHECKING:
    from opslib.runbooks import Runbook
    from opslib.settings import Profile

IDENTITY_DEADLINE = 8.0  # seconds, as any other read


@dataclass(frozen=True)
class Place:
    """Where a run keeps its evidence."""

    run: str
    folder: Path  # of this run: the journal is here
    root: Path  # of the archive


@dataclass(frozen=True)
class Identity:
    """Who runs this: as the cluster sees it, as the operating system does, and where."""

    cluster_user: str  # empty: unknown
    system_user: str
    host: str

    def to_json(self) -> dict[str, str]:
        """The identity's fields of a record."""
        return {"cluster_user": self.cluster_user, "system_user": self.system_user, "host": self.host}


def values_of(runbook: Runbook, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The runbook's parameters as the notebook's namespace has them, validated. Raises ParameterError."""
    names = [spec.name for spec in runbook.parameters]
    return dict(runbook.validate({name: namespace[name] for name in names if name in namespace}))


def namespace_of(frame: FrameType | None) -> Mapping[str, Any]:
    """The notebook's names: the shell's in IPython, else those of the calling module."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is not None:
        names: Mapping[str, Any] = shell.user_ns
        return names
    return frame.f_globals if frame is not None else {}


def place(runbook: str, profile: Profile, environ: Mapping[str, str]) -> Place:
    """The folder that the engine gave, else a new one in the archive: <date>/<runbook-slug>-<run>.

    Raises EvidenceError when the folder cannot be made.
    """
    root = Path(environ.get("OPSLIB_EVIDENCE") or profile.evidence).expanduser().absolute()
    given = environ.get("OPSLIB_RUN_ID", "")
    run = given if is_id(given) else new_id()
    slug = runbook.rsplit("/", 1)[-1].removesuffix(".ipynb")
    named = environ.get("OPSLIB_RUN_DIR")
    folder = Path(named) if named else root / now().date().isoformat() / f"{slug}-{run}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"the run's folder cannot be made: {error.strerror or error}",
            target=str(folder),
            next="choose another evidence folder (OPSLIB_EVIDENCE); nothing was run",
        ) from error
    return Place(run, folder, root)


def identify(cluster: Any) -> tuple[Identity, str, str]:
    """(identity, the cluster's uid, why one of them is unknown) from the API;

    both in parallel, within seconds.
    """
    reads = [
        Read("cluster", name, lambda name=name: getattr(cluster, name)(), "other", IDENTITY_DEADLINE)  # type: ignore[misc]
        for name in ("identity", "cluster_uid")
    ]
    make_all(reads)
    who, uid = reads
    user = _user(who.answer) if who.error is None else ""
    missing = [f"{read.name}: {read.error}" for read in reads if read.error is not None]
    return Identity(user, _system_user(), platform.node()), str(uid.answer or ""), "; ".join(missing)


def guard(uid: str, profile: Profile, values: Mapping[str, Any]) -> None:
    """Raise WrongCluster when the cluster that answers is not the one the profile or the parameters name."""
    wanted = [
        (str(values.get("cluster_uid") or ""), "the parameter cluster_uid"),
        (profile.cluster_uid, f"profile {profile.name!r}"),
    ]
    for expected, source in wanted:
        if expected and uid and expected != uid:
            raise WrongCluster(
                f"{source} names the cluster {expected}, but {uid} answers",
                target=profile.context or profile.kubeconfig or "current context",
                next="choose the context of the cluster you mean; nothing was read or changed",
            )


def mode_of(environ: Mapping[str, str]) -> str:
    """`headless` or `interactive`: whether somebody is there to click or to answer."""
    if environ.get("OPSLIB_MODE"):
        return environ["OPSLIB_MODE"]
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        # papermill and nbconvert tell the kernel that nobody can answer; JupyterLab and the console that
        # somebody can.
        return "interactive" if getattr(kernel, "_allow_stdin", False) else "headless"
    return "interactive" if shell is not None and sys.stdin.isatty() else "headless"


def _user(answer: Any) -> str:
    if hasattr(answer, "columns"):
        return str(answer["user"].iloc[0]) if len(answer) else ""
    return str(getattr(answer, "user", answer) or "")


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
