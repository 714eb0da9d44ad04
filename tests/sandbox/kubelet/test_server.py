"""What kubectl gets from the kubelet: logs, exec, port-forward, top."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from opslib.sandbox.client import PODS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def running(cluster, ns: str, name: str = "one") -> str:
    await cluster.namespace(ns)
    container = {
        "name": "main",
        "image": "test/main:ok",
        "ports": [{"name": "http", "containerPort": 3000}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    await cluster.client.create(PODS, {"metadata": {"name": name, "namespace": ns}, "spec": spec})

    async def ready():
        found = await cluster.get(PODS, ns, name)
        return (found["status"].get("containerStatuses") or [{}])[0].get("ready")

    await cluster.wait("the pod to be ready", ready)
    return ns


async def write(cluster, ns: str, count: int, name: str = "one") -> None:
    instance = cluster.kubelet.worker(ns, name).mains[0].instance
    for number in range(count):
        instance.log(f"line {number}")


async def test_logs_honour_kubectls_options(cluster):
    ns = await running(cluster, "logs")
    await write(cluster, ns, 10)
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one")
    assert (code, len(out.splitlines())) == (0, 11)
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--tail=2")
    assert out == "line 8\nline 9\n"
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--tail=1", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 9\n", out)
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--limit-bytes=5", "--tail=3")
    assert out == "line "
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--since=1h")
    assert len(out.splitlines()) == 11
    code, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--since-time=2099-01-01T00:00:00Z")
    assert out == ""
    code, _, err = await cluster.kubectl("-n", ns, "logs", "one", "--previous")
    assert code == 1
    assert 'previous terminated container "main" in pod "one" not found' in err


async def test_followed_logs_arrive_as_they_are_written_and_end_with_the_container(cluster):
    ns = await running(cluster, "follow")
    follower = asyncio.create_task(cluster.kubectl("-n", ns, "logs", "-f", "one"))
    await asyncio.sleep(1.0)
    await write(cluster, ns, 3)
    await asyncio.sleep(0.2)
    assert not follower.done()
    await cluster.client.delete(PODS, ns, "one")
    code, out, err = await follower
    assert code == 0, err
    assert out.splitlines()[-3:] == ["line 0", "line 1", "line 2"]


async def test_exec_gives_output_and_exit_code(cluster):
    ns = await running(cluster, "exec")
    code, out, err = await cluster.kubectl("-n", ns, "exec", "one", "--", "anything")
    assert (code, out, err) == (0, "out\n", "err\n")
    code, out, err = await cluster.kubectl("-n", ns, "exec", "one", "--", "fail", "7")
    assert code == 7
    assert "command terminated with exit code 7" in err
    code, _, err = await cluster.kubectl("-n", ns, "exec", "one", "-c", "nope", "--", "ls")
    assert code == 1
    assert "container nope" in err


async def test_exec_passes_stdin_to_its_end(cluster):
    ns = await running(cluster, "stdin")
    program = Path(sys.executable).parent / "kubectl"
    env = {**os.environ, "KUBECONFIG": str(cluster.sandbox.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        str(program), "-n", ns, "exec", "-i", "one", "--", "cat",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    data = b"x" * 100_000 + b"\nend\n"
    out, _ = await asyncio.wait_for(process.communicate(data), 20)
    assert (process.returncode, out) == (0, data)


async def test_exec_works_with_the_official_python_client(cluster):
    from kubernetes import client, config
    from kubernetes.stream import stream

    ns = await running(cluster, "python")

    def call() -> tuple[str, int]:
        api = client.CoreV1Api(config.new_client_from_config(str(cluster.sandbox.kubeconfig)))
        response = stream(
            api.connect_get_namespaced_pod_exec,
            "one",
            ns,
            command=["fail", "3"],
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        response.run_forever(timeout=10)
        return response.read_stdout(), response.returncode

    assert await asyncio.to_thread(call) == ("out\n", 3)


async def test_port_forward_reaches_the_program(cluster):
    ns = await running(cluster, "forward")
    program = Path(sys.executable).parent / "kubectl"
    env = {**os.environ, "KUBECONFIG": str(cluster.sandbox.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        str(program), "-n", ns, "port-forward", "pod/one", ":3000",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        port = int(re.search(r"127\.0\.0\.1:(\d+) -> 3000", line)[1])
        async with aiohttp.ClientSession() as session:
            for path in ("/hello", "/again"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert answer.status == 200
                    assert (await answer.json()) == {"path": path, "pod": "one"}
    finally:
        process.terminate()
        await process.wait()
    _, out, _ = await cluster.kubectl("-n", ns, "logs", "one", "--tail=1")
    assert out == "GET /hello\n"


async def test_port_forward_also_speaks_plain_spdy(cluster):
    ns = await running(cluster, "spdy")
    program = Path(sys.executable).parent / "kubectl"
    env = {
        **os.environ,
        "KUBECONFIG": str(cluster.sandbox.kubeconfig),
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false",
    }
    process = await asyncio.create_subprocess_exec(
        str(program), "-n", ns, "port-forward", "pod/one", ":3000",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        port = int(re.search(r"127\.0\.0\.1:(\d+) -> 3000", line)[1])
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/spdy") as answer,
        ):
            assert (await answer.json())["path"] == "/spdy"
    finally:
        process.terminate()
        await process.wait()


async def test_top_shows_pods_and_nodes(cluster):
    ns = await running(cluster, "top")

    async def measured():
        code, out, _ = await cluster.kubectl("-n", ns, "top", "pods", "--no-headers")
        return out if code == 0 and out.strip() else None

    out = await cluster.wait("metrics of the pod", measured)
    assert out.split() == ["one", "20m", "50Mi"]
    code, out, err = await cluster.kubectl("top", "nodes", "--no-headers")
    assert code == 0, err
    assert len(out.splitlines()) == 6
    raw = await cluster.client.request("GET", f"/apis/metrics.k8s.io/v1beta1/namespaces/{ns}/pods/one")
    assert raw["containers"] == [{"name": "main", "usage": {"cpu": "20m", "memory": "51200Ki"}}]
    assert json.loads(json.dumps(raw))["kind"] == "PodMetrics"
