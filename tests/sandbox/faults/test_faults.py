"""Every fault of the menu, broken in a real sandbox and seen with plain kubectl as its file says."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from opslib.sandbox import faults
from opslib.sandbox.faults.conditions import CONDITIONS
from opslib.sandbox.faults.model import load
from opslib.sandbox.faults.stage import Stage
from opslib.sandbox.faults.steps import STEPS
from opslib.sandbox.state import BadInputError, SandboxError

MENU = faults.menu()
PROMISED = {
    "bad-release",
    "bad-config",
    "bad-configmap",
    "image-missing",
    "all-backends-down",
    "backend-bad-release",
    "quota-exhausted",
    "node-shortage",
    "argo-reverts",
    "same-image",
    "under-capacity",
    "prometheus-down",
    "redis-down",
    "postgres-down",
    "missing-secret",
}


def test_the_menu_holds_what_is_promised_and_speaks_the_vocabulary():
    assert {fault.name for fault in MENU} >= PROMISED
    for fault in MENU:
        assert all(step.word in STEPS for step in fault.steps), fault.name
        assert all(awaited.word in CONDITIONS for awaited in fault.symptom), fault.name
        assert all(shlex.split(seen.run)[0] == "kubectl" for seen in fault.seen), fault.name
        assert fault.summary and fault.heals and fault.seen


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("summary: x\nsteps: []\nseen: []\n", "a fault has summary"),
        ("summary: x\nsteps: [scale]\nseen: []\nheals: y\n", "a step is one word"),
        ("summary: x\nsteps: [{scale: 3}]\nseen: []\nheals: y\n", "wants named arguments"),
        ("summary: x\nsteps: []\nseen: []\nheals: y\nmore: 1\n", "a fault has summary"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, why):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SandboxError, match=why):
        load(path)


def test_unknown_faults_are_refused_with_the_menu():
    with pytest.raises(BadInputError, match="there is no fault 'nothing'") as error:
        faults.find("nothing")
    assert "bad-release" in error.value.next


def seen(fault: faults.Fault, env: dict[str, str], patience: float = 15.0) -> None:
    """Each command of the fault's file shows what the file says, within a few seconds."""
    for entry in fault.seen:
        end = time.monotonic() + patience
        while True:
            done = subprocess.run(
                shlex.split(entry.run), capture_output=True, text=True, env=env, timeout=60, check=False
            )
            if entry.shows in done.stdout:
                break
            if time.monotonic() > end:
                raise AssertionError(
                    f"{entry.run} does not show {entry.shows!r}:\n{done.stdout[-3000:]}{done.stderr[-500:]}"
                )
            time.sleep(0.3)


@pytest.mark.parametrize("fault", MENU, ids=[fault.name for fault in MENU])
async def test_fault_is_broken_and_seen(fault, healthy_sandbox, sandbox_env):
    left_out = healthy_sandbox.load().left_out
    if any(service in left_out for service in fault.needs):
        pytest.skip(f"this sandbox has no {fault.needs[0]}: {left_out[fault.needs[0]]}")
    said: list[str] = []
    await faults.break_(healthy_sandbox, fault.name, said.append)
    assert said[0].startswith("breaking: ") and said[-1] == f"{fault.name} is there"
    assert faults.active(healthy_sandbox) == [fault.name]
    seen(fault, sandbox_env)


async def statuses(sandbox, path: str, count: int = 10) -> list[int]:
    from opslib.sandbox.client import Client

    async with Client.from_kubeconfig(sandbox.kubeconfig) as client:
        stage = Stage(sandbox.path, client, lambda _: None)
        return [await stage.visit(path) for _ in range(count)]


async def test_two_at_once_and_healing_one_leaves_the_other(healthy_sandbox, kubectl):
    before = kubectl("get", "deployment,configmap", "-o", "json").stdout
    await faults.break_(healthy_sandbox, ["bad-release", "backend-image-missing"])
    assert faults.active(healthy_sandbox) == ["bad-release", "backend-image-missing"]
    with pytest.raises(BadInputError, match="is there already"):
        await faults.break_(healthy_sandbox, "bad-release")
    assert await faults.heal(healthy_sandbox, "bad-release") == ["bad-release"]
    assert faults.active(healthy_sandbox) == ["backend-image-missing"]
    assert await statuses(healthy_sandbox, "/api/v1/inventory/availability") == [200] * 10
    waiting = "{.items[*].status.containerStatuses[*].state.waiting.reason}"
    shown = kubectl(
        "get", "pods", "-l", "app.kubernetes.io/name=payment-service", "-o", f"jsonpath={waiting}"
    )
    assert "ImagePull" in shown.stdout
    with pytest.raises(BadInputError, match="is not there"):
        await faults.heal(healthy_sandbox, "redis-down")
    assert await faults.heal(healthy_sandbox) == ["backend-image-missing"]
    assert faults.active(healthy_sandbox) == []
    after = kubectl("get", "deployment,configmap", "-o", "json").stdout
    assert specs(after) == specs(before)


def specs(text: str) -> dict[str, object]:
    return {
        f"{o['kind']}/{o['metadata']['name']}": (o["metadata"]["uid"], o.get("spec"), o.get("data"))
        for o in json.loads(text)["items"]
    }


async def test_undo_of_the_bad_release_is_taken_back_by_argo_cd_unless_paused(healthy_sandbox, kubectl):
    await faults.break_(healthy_sandbox, "bad-release")
    off = '{"spec":{"syncPolicy":{"automated":null}}}'
    name = "pss-nano-production"
    kubectl("patch", "application", name, "-n", "argocd", "--type=merge", "-p", off, context="responder")
    kubectl("rollout", "undo", "deployment/api-gateway", "--to-revision=3", context="responder")
    kubectl("rollout", "status", "deployment/api-gateway", "--timeout=60s", context="responder")
    assert await statuses(healthy_sandbox, "/api/v1/inventory/availability") == [200] * 10
    time.sleep(2.0)  # two minutes of the platform: Argo CD would have acted
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deployment", "api-gateway", "-o", image).stdout.endswith(":v2.7.3")
    status = "jsonpath={.status.sync.status}"
    assert kubectl("get", "application", name, "-n", "argocd", "-o", status).stdout == "OutOfSync"


async def test_errors_show_in_prometheus_and_are_gone_after_healing(healthy_sandbox):
    address = healthy_sandbox.address("prometheus")
    if "prometheus" in healthy_sandbox.load().left_out or address is None:
        pytest.skip("this sandbox has no Prometheus")
    query = 'sum(increase(nginx_ingress_controller_requests{status=~"5.."}[1m])) or vector(0)'
    few = 5  # users of a healthy platform meet a 5xx now and then
    assert ask(address["url"], query) < few
    await faults.break_(healthy_sandbox, "bad-release")
    end = time.monotonic() + 20
    while ask(address["url"], query) < 20:
        assert time.monotonic() < end, "no 5xx at the edge in Prometheus"
        time.sleep(0.5)
    await faults.heal(healthy_sandbox)
    time.sleep(2.0)
    assert ask(healthy_sandbox.address("prometheus")["url"], query) < few


def ask(url: str, query: str) -> float:
    with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(query)}", timeout=5) as answer:
        return float(json.load(answer)["data"]["result"][0]["value"][1])


async def test_healing_keeps_the_pods_that_ran_before(healthy_sandbox, kubectl):
    wanted = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\\n'}{end}"
    before = set(kubectl("get", "pods", "-o", wanted).stdout.splitlines())
    await faults.break_(healthy_sandbox, "all-backends-down")
    await faults.heal(healthy_sandbox)
    time.sleep(1.0)
    assert set(kubectl("get", "pods", "-o", wanted).stdout.splitlines()) == before
