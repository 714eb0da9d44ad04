"""The front matter of a runbook: YAML between `---` lines in its first cell, a raw one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opslib.errors import RunbookError

SEVERITIES = ("P0", "P1", "P2", "P3")
SYSTEMS = ("kubernetes", "ingress", "prometheus", "postgresql", "redis", "rabbitmq", "argocd", "evidence")
REQUIRED = ("title", "severity", "owner", "reviewed", "review_every", "symptoms", "reads", "changes")

_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
_EVERY = re.compile(r"([0-9]+) (day|week|month|year)s?")
_READ = ("get", "list")
_ACCESS = re.compile(r"(?:(?P<verbs>[a-z]+(?:,[a-z]+)*) )?(?P<resources>[a-z0-9./-]+(?:, ?[a-z0-9./-]+)*)")
# Where a resource lives, for those that a runbook names without its group.
GROUPS = {
    **dict.fromkeys(("deployments", "replicasets", "statefulsets", "daemonsets"), "apps"),
    **dict.fromkeys(("ingresses", "networkpolicies"), "networking.k8s.io"),
    **dict.fromkeys(("jobs", "cronjobs"), "batch"),
    "horizontalpodautoscalers": "autoscaling",
    "poddisruptionbudgets": "policy",
    "endpointslices": "discovery.k8s.io",
    "leases": "coordination.k8s.io",
    "applications": "argoproj.io",
}


@dataclass(frozen=True)
class Access:
    """One thing a runbook reads or changes on Kubernetes, as RBAC names it."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {name}" + (f"/{self.subresource}" if self.subresource else "")


@dataclass(frozen=True)
class FrontMatter:
    """What a runbook says about itself."""

    title: str
    severity: str
    owner: str
    reviewed: dt.date
    review_every: dt.timedelta
    symptoms: tuple[str, ...]
    reads: tuple[str, ...]  # 'SYSTEM: what'; for kubernetes RESOURCE[.GROUP][/SUBRESOURCE], ...
    changes: tuple[str, ...]  # in words, or 'kubernetes: VERB,VERB RESOURCE[.GROUP][/SUBRESOURCE], ...'
    alerts: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()  # related runbooks that are not written yet
    limit: str = ""  # time limit or RTO, in words
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def due(self) -> dt.date:
        """The day the runbook has to be reviewed again."""
        return self.reviewed + self.review_every

    def access(self, what: str = "reads") -> list[Access]:
        """What the Kubernetes entries of `reads` or `changes` need; reading is get and list."""
        needed = []
        for entry in self.reads if what == "reads" else self.changes:
            system, rest = parse_entry(entry)
            match = _ACCESS.fullmatch(rest) if system == "kubernetes" else None
            if match is None or not (match["verbs"] or what == "reads"):
                continue
            for resource in match["resources"].replace(" ", "").split(","):
                name, _, sub = resource.partition("/")
                plain, _, group = name.partition(".")
                verbs = match["verbs"].split(",") if match["verbs"] else ("get",) if sub else _READ
                needed += [Access(verb, plain, group or GROUPS.get(plain, ""), sub) for verb in verbs]
        return list(dict.fromkeys(needed))


def parse(source: str, *, where: str) -> FrontMatter:
    """The front matter in the text of a raw cell. Raises RunbookError, naming the key that is wrong."""
    import yaml

    body = re.fullmatch(r"\s*---\n(.*?)\n---\s*", source, re.DOTALL)
    if not body:
        raise RunbookError(
            "the first cell is not front matter: a raw cell with YAML between --- lines", target=where
        )
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        data = yaml.load(body[1], Loader=loader)  # noqa: S506 - a safe loader, in C where there is one
    except yaml.YAMLError as error:
        raise RunbookError(
            f"the front matter is not YAML: {' '.join(str(error).split())}", target=where
        ) from error
    if not isinstance(data, dict):
        raise RunbookError("the front matter must be a mapping", target=where)
    return _build(data, where)


def parse_entry(entry: str) -> tuple[str, str]:
    """`SYSTEM: what` of reads or changes, as a pair; ('', entry) when it has no known system."""
    system, colon, rest = entry.partition(":")
    return (system, rest.strip()) if colon and system in SYSTEMS else ("", entry)


def problems_of_entry(entry: str) -> str:
    """What is wrong with an entry of `reads`; '' when nothing is."""
    system, rest = parse_entry(entry)
    if not system:
        return f"{entry!r} of reads must begin with one of {', '.join(SYSTEMS)} and a colon"
    if system == "kubernetes" and not _ACCESS.fullmatch(rest):
        return f"{entry!r} must be 'kubernetes: [VERB,VERB ]RESOURCE[.GROUP][/SUBRESOURCE], ...'"
    return ""


def _build(data: Mapping[str, Any], where: str) -> FrontMatter:
    known = set(FrontMatter.__dataclass_fields__) | {"rto", "time_limit"}
    if unknown := sorted(set(map(str, data)) - known):
        raise RunbookError(
            f"the front matter has an unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}",
            target=where,
        )
    if missing := [key for key in REQUIRED if key not in data]:
        raise RunbookError(f"the front matter lacks {', '.join(missing)}", target=where)
    if data["severity"] not in SEVERITIES:
        raise RunbookError(f"severity must be one of {', '.join(SEVERITIES)}", target=where)
    for key in ("title", "owner"):
        if not isinstance(data[key], str) or not data[key].strip():
            raise RunbookError(f"{key} must be a line of text", target=where)
    if type(data["reviewed"]) is not dt.date:
        raise RunbookError("reviewed must be a date, YYYY-MM-DD", target=where)
    lists = {
        key: _strings(key, data.get(key, []), where)
        for key in ("symptoms", "reads", "changes", "alerts", "related", "planned")
    }
    for entry in lists["reads"]:
        if problem := problems_of_entry(entry):
            raise RunbookError(problem, target=where)
    parameters = data.get("parameters") or {}
    if not isinstance(parameters, dict) or not all(
        isinstance(limits, dict) for limits in parameters.values()
    ):
        raise RunbookError("parameters must map each name to its limits", target=where)
    return FrontMatter(
        title=data["title"].strip(),
        severity=data["severity"],
        owner=data["owner"].strip(),
        reviewed=data["reviewed"],
        review_every=_period(data["review_every"], where),
        limit=str(data.get("limit") or data.get("time_limit") or data.get("rto") or ""),
        parameters=parameters,
        **lists,
    )


def _strings(key: str, value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list):
        # `- redis: info` is a mapping to YAML and a line of text to whoever wrote it.
        value = [_line(item) if isinstance(item, dict) else item for item in value]
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(item, str) for item in value)
    ):
        raise RunbookError(
            f"{key} must be a list of text", target=where, next="quote an entry that has a colon in it"
        )
    return tuple(value)


def _line(item: Mapping[object, object]) -> object:
    return "; ".join(f"{key}: {value}" for key, value in item.items())


def _period(value: object, where: str) -> dt.timedelta:
    if type(value) is int:
        return dt.timedelta(days=value)
    match = _EVERY.fullmatch(str(value))
    if not match:
        raise RunbookError("review_every must be like '90 days' or '6 months'", target=where)
    return dt.timedelta(days=int(match[1]) * _DAYS[match[2]])
