"""The transport: what fails says so, within its time, and names where."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from opslib.cluster import Cluster
from opslib.cluster.kubeconfig import Static, static
from opslib.errors import SettingsError, Unreachable
from opslib.settings import Profile

if TYPE_CHECKING:
    from opslib.sandbox.state import Sandbox


def kubeconfig(folder: Path, server: str) -> Profile:
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me", "namespace": "x"}}],
                "clusters": [{"name": "here", "cluster": {"server": server}}],
                "users": [{"name": "me", "user": {"token": "t0ken"}}],
            }
        )
    )
    return Profile(kubeconfig=str(file))


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in taken:
        one.close()
    thread.join(2)


def test_a_refused_connection_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    cluster = Cluster(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
    with pytest.raises(Unreachable) as caught:
        cluster.pods("api-gateway")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert caught.value.next


def test_a_silent_api_ends_with_its_deadline(tmp_path: Path, silent_port: int) -> None:
    profile = kubeconfig(tmp_path, f"http://127.0.0.1:{silent_port}")
    with pytest.raises(Unreachable, match="does not answer"):
        Cluster(profile, read_seconds=0.3).deployments()


def test_a_profile_without_its_context_is_a_setting_to_correct(tmp_path: Path) -> None:
    profile = kubeconfig(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match="kubeconfig"):
        Cluster(Profile(kubeconfig=profile.kubeconfig, context="other")).deployments()
    with pytest.raises(SettingsError):
        Cluster(Profile(kubeconfig=str(tmp_path / "none"))).deployments()


def test_building_a_cluster_connects_to_nothing(tmp_path: Path) -> None:
    Cluster(Profile(kubeconfig=str(tmp_path / "none")))


def test_the_token_is_in_no_message(tmp_path: Path) -> None:
    cluster = Cluster(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    with pytest.raises(Unreachable) as caught:
        cluster.version()
    assert "t0ken" not in str(caught.value)


def write(folder: Path, name: str, **body: object) -> str:
    file = folder / name
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config"} | body))
    return str(file)


def test_plain_kubeconfigs_are_merged_as_kubectl_does(tmp_path: Path) -> None:
    """KUBECONFIG lists: the first file that defines a name, and the first current-context, win."""
    one = write(
        tmp_path,
        "one",
        contexts=[{"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        clusters=[{"name": "c", "cluster": {"server": "http://first"}}],
    )
    (tmp_path / "token").write_text("from-file\n")
    two = write(
        tmp_path,
        "two",
        **{"current-context": "a"},
        clusters=[{"name": "c", "cluster": {"server": "http://second"}}],
        users=[{"name": "u", "user": {"tokenFile": "token"}}],
    )
    found = static(os.pathsep.join([one, str(tmp_path / "absent"), two]), "")
    assert found is not None
    assert (found.host, found.context, found.cluster, found.namespace) == ("http://first", "a", "c", "n")
    assert found.authorization() == {"Authorization": "Bearer from-file"}


@pytest.mark.parametrize(
    "user", [{"exec": {"command": "gke-gcloud-auth-plugin"}}, {"token": "t", "as": "root"}]
)
def test_anything_special_is_left_to_the_official_package(tmp_path: Path, user: dict[str, object]) -> None:
    file = write(
        tmp_path,
        "it",
        **{"current-context": "a"},
        contexts=[{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        clusters=[{"name": "c", "cluster": {"server": "https://x"}}],
        users=[{"name": "u", "user": user}],
    )
    assert static(file, "") is None


def test_both_ways_of_reading_reach_the_same_cluster(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(kubeconfig=str(sandbox.kubeconfig), context="observer")
    quick = Cluster(profile)
    assert isinstance(quick.api.connection.configuration, Static)
    monkeypatch.setattr("opslib.cluster.client.static", lambda _files, _context: None)
    official = Cluster(profile)
    assert not isinstance(official.api.connection.configuration, Static)
    assert quick.cluster_uid() == official.cluster_uid()
    assert quick.identity() == official.identity()
    assert quick.name == official.name
