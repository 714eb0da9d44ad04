"""The Roles that the runbooks need: least privilege, and what the sandbox's on-call has."""

from __future__ import annotations

import datetime as dt
from typing import Any

import yaml

from opslib import runbooks
from opslib.cli.books import roles as print_roles
from opslib.runbooks.roles import OBSERVER, OBSERVERS, RESPONDER, RESPONDERS, roles
from opslib.sandbox.inventory import access

Json = dict[str, Any]


def generated(**options: str) -> list[Json]:
    return roles(
        [book for book in runbooks.every() if isinstance(book, runbooks.Runbook)], "pss-nano", **options
    )


def grants(manifests: list[Json], group: str) -> set[tuple[str, str, str, str]]:
    """(namespace, verb, group, resource) of everything that a group may by these manifests."""
    found = set()
    for binding in (each for each in manifests if each["kind"].endswith("Binding")):
        if group not in [subject["name"] for subject in binding["subjects"]]:
            continue
        ref, place = binding["roleRef"], binding["metadata"].get("namespace", "")
        (role,) = (
            each
            for each in manifests
            if (each["kind"], each["metadata"]["name"]) == (ref["kind"], ref["name"])
            and (each["kind"] == "ClusterRole" or each["metadata"].get("namespace") == place)
        )
        for rule in role["rules"]:
            found |= {
                (place, verb, api, resource)
                for verb in rule["verbs"]
                for api in rule["apiGroups"]
                for resource in rule["resources"]
            }
    return found


def test_an_observer_may_only_read_what_is_declared() -> None:
    may = grants(generated(), OBSERVERS)
    assert ("pss-nano", "list", "apps", "deployments") in may
    assert ("pss-nano", "get", "", "pods/log") in may
    assert ("", "list", "", "nodes") in may
    assert ("argocd", "list", "argoproj.io", "applications") in may
    reviews = {"selfsubjectaccessreviews", "selfsubjectreviews"}
    assert {verb for _, verb, _, resource in may if resource not in reviews} == {"get", "list"}
    assert not {resource for _, _, _, resource in may} & {"secrets", "pods/exec", "*"}


def test_a_responder_may_also_change_what_is_declared_under_a_lease() -> None:
    more = grants(generated(), RESPONDERS) - grants(generated(), OBSERVERS)
    assert ("pss-nano", "patch", "apps", "deployments") in more
    assert ("argocd", "patch", "argoproj.io", "applications") in more
    assert ("pss-nano", "create", "coordination.k8s.io", "leases") in more
    # What a change writes lies in the platform's namespace, but for Argo CD's own switch.
    assert {place for place, *_ in more} == {"pss-nano", "argocd"}
    assert {each for each in more if each[0] == "argocd"} == {
        ("argocd", "patch", "argoproj.io", "applications")
    }
    assert "*" not in {part for each in more for part in each}


def test_names_of_namespaces_and_groups_are_ones_own() -> None:
    made = generated(argocd="gitops", observers="sre", responders="oncall")
    assert {each["metadata"].get("namespace") for each in made} == {None, "pss-nano", "gitops"}
    assert grants(made, OBSERVERS) == set()
    assert grants(made, "sre") < grants(made, "oncall")


def test_the_command_prints_them_for_kubectl(capsys) -> None:
    assert print_roles("elsewhere", "", "", "", "") == 0
    read_back = list(yaml.safe_load_all(capsys.readouterr().out))
    names = {(each["kind"], each["metadata"]["name"]) for each in read_back}
    assert names == {
        (kind, name)
        for kind, name in (
            ("ClusterRole", OBSERVER), ("ClusterRoleBinding", OBSERVER), ("Role", OBSERVER),
            ("RoleBinding", OBSERVER), ("Role", RESPONDER), ("RoleBinding", RESPONDER),
        )
    }  # fmt: skip
    assert {each["metadata"].get("namespace") for each in read_back} == {None, "elsewhere", "argocd"}


def test_the_sandboxes_on_call_has_what_the_runbooks_need() -> None:
    theirs = [dict(each) for each in access.rbac(dt.datetime.now(dt.UTC))]
    for group in (OBSERVERS, RESPONDERS):
        have = grants([each for each in theirs if "rules" in each or "roleRef" in each], group)
        missing = {
            each for each in grants(generated(), group) if each not in have and ("", *each[1:]) not in have
        }
        assert missing == set(), group
