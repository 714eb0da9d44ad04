"""Opens a run: nothing of the platform is read before the parameters are valid, and nothing shown before
secrets are known.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from opslib import runbooks, settings
from opslib.records.change import Target
from opslib.records.journal import FILE, Journal
from opslib.records.known import secrets_of
from opslib.records.model import Kind, Status
from opslib.records.redact import Redactor
from opslib.runs import opening, output
from opslib.runs.run import Run

_current: Run | None = None
_hooked: list[Any] = []


def open_run(
    runbook: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    nouns: Mapping[str, Callable[[], Any]] | None = None,
) -> Run:
    """Open a run of a runbook: read and validate the parameters from the notebook, open the journal, show the verdict.

    `parameters` and `nouns` replace the notebook's and the platform's, for programs. Raises ParameterError,
    RunbookError, SettingsError,
    EvidenceError before anything was read; WrongCluster when another cluster answers than the one named;
    StaleConfirmation at once when
    `approve` names what may not be used.
    """
    global _current
    if _current is not None:
        _current.journal.close()
        _current = None
    frame = inspect.currentframe()
    names = parameters if parameters is not None else opening.namespace_of(frame.f_back if frame else None)
    book = runbooks.load(runbook)
    values = opening.values_of(book, names)
    profile = settings.load(str(values.get("profile") or ""))
    if values.get("namespace"):
        profile = replace(profile, namespace=str(values["namespace"]))
    redactor = Redactor(secrets_of())
    output.redact_kernel(redactor)
    place = opening.place(book.name, profile, os.environ)
    journal = Journal(place.folder / FILE, place.run, redactor.value)
    run = Run(place, book, values, profile, journal, redactor, nouns or _nouns(profile))
    _current = run
    _watch_cells()
    _introduce(run)
    return run


def _introduce(run: Run) -> None:
    """Identity, cluster, verdict, confirmations:

    in this order, so that a refusal has its place in the evidence.
    """
    cluster = getattr(run, "cluster", None)
    why = "this runbook has no cluster"
    if cluster is not None:
        run.identity, run.cluster_uid, why = opening.identify(cluster.noun)
    run.journal.write(
        "run_started",
        runbook=run.runbook.name,
        parameters=run.parameters,
        incident=run.incident,
        mode=run.mode,
        profile=run.profile.name,
        identity=run.identity.to_json(),
        cluster_uid=run.cluster_uid,
        pid=os.getpid(),
    )
    run.open_verdict()
    if why and cluster is not None:
        run.check("who and where this is", None, status=Status.UNKNOWN, because=why, required=False)
    opening.guard(run.cluster_uid, run.profile, run.parameters)
    for confirmation in run.approved:
        if lost := run.confirmations.lost(confirmation):
            says = f"run {lost[0]} applied {confirmation} and died before it knew the result, after {lost[1]} requests"
            run.emitter.emit(
                Kind.NOTE,
                "result lost",
                status=Status.UNKNOWN,
                target=Target(cluster_uid=run.cluster_uid),
                because=f"{says}. It is not applied again: this run looks at what is there now.",
            )
            run.lost.append(f"{confirmation} by run {lost[0]}, whose result was lost")
            run.journal.write("found_lost", confirmation=confirmation, by=lost[0], writes=lost[1])
        else:
            run.confirmations.check(confirmation, run.cluster_uid)


def _nouns(profile: settings.Profile) -> dict[str, Callable[[], Any]]:
    """The platform's nouns, each made when first used, once."""
    made: dict[str, Any] = {}

    def noun(name: str) -> Any:
        if name not in made:
            kind = getattr(import_module(f"opslib.{name}"), name.capitalize())
            # The edge finds hosts in the cluster; the ingress' own counter is the second witness of its symptom.
            others = (noun("cluster"), noun("metrics").ratio_since) if name == "edge" else ()
            made[name] = kind(profile, *others)
        return made[name]

    return {name: partial(noun, name) for name in ("cluster", "metrics", "database", "cache", "edge")}


def _watch_cells() -> None:
    """After a cell that raised, conclude the run: its evidence then says why, also under plain papermill."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or shell in _hooked:
        return
    shell.events.register("post_run_cell", _after_cell)
    _hooked.append(shell)


def _after_cell(result: Any) -> None:
    error = result.error_before_exec or result.error_in_exec
    if error is None or _current is None:
        return
    # A person who tries something after the end has not made the run fail; a notebook that goes on and fails has.
    if _current.conclusion is None or not _current.interactive:
        _current.fail(error)
