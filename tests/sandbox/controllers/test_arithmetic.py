"""The pure parts: rollout arithmetic, scheduling messages, scaling, three-way comparison, quantities, queues."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslib.sandbox.clock import Clock, parse_stamp, stamp
from opslib.sandbox.controllers import rollout, threeway
from opslib.sandbox.controllers.objects import int_or_percent, matches, millis, quantity, with_condition
from opslib.sandbox.controllers.podcontrol import victims
from opslib.sandbox.controllers.runtime import Queue
from opslib.sandbox.controllers.scaling import History, PodUsage, decide, propose
from opslib.sandbox.controllers.scheduling import Cluster, tolerates
from opslib.sandbox.controllers.templates import equal_templates, template_hash


def deployment(replicas: int, surge: object = "25%", unavailable: object = "25%") -> dict:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {"metadata": {"name": "d"}, "spec": {"replicas": replicas, "strategy": strategy}}


def rs(name: str, replicas: int, available: int | None = None, **annotations: str) -> dict:
    return {
        "metadata": {"name": name, "creationTimestamp": name, "annotations": annotations},
        "spec": {"replicas": replicas},
        "status": {
            "replicas": replicas,
            "availableReplicas": replicas if available is None else available,
        },
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)),
        (5, "25%", "25%", (2, 1)),  # surge rounds up, unavailable down
        (1, "25%", "25%", (1, 0)),
        (3, 0, "10%", (0, 1)),  # never both zero
        (10, 3, 2, (3, 2)),
    ],
)
def test_surge_and_unavailable_round_as_upstream(replicas, surge, unavailable, expected):
    assert rollout.limits(deployment(replicas, surge, unavailable)) == expected


@given(
    replicas=st.integers(1, 40),
    surge=st.integers(0, 100),
    unavailable=st.integers(0, 100),
)
def test_a_rollout_ends_and_never_leaves_its_limits(replicas, surge, unavailable):
    d = deployment(replicas, f"{surge}%", f"{unavailable}%")
    extra, missing = rollout.limits(d)
    old, new = rs("1", replicas), rs("2", 0)
    for _ in range(4 * replicas + 4):
        target = rollout.new_replicas(d, [old, new], new)
        changed = target != new["spec"]["replicas"]
        new = rs("2", target, new["status"]["availableReplicas"])
        if not changed and rollout.old_scale_down(d, [old, new], new) > 0:
            for _, size in rollout.healthy_next(d, [old, new], [old]):
                changed = changed or size != old["spec"]["replicas"]
                old = rs("1", size)
        total = old["spec"]["replicas"] + new["spec"]["replicas"]
        available = old["status"]["availableReplicas"] + new["status"]["availableReplicas"]
        assert total <= replicas + extra
        assert available >= replicas - missing
        new = rs("2", new["spec"]["replicas"])  # all new pods become available
        if new["spec"]["replicas"] == replicas and old["spec"]["replicas"] == 0:
            return
    raise AssertionError("the rollout did not end")


def test_broken_pods_of_old_sets_go_first():
    sets = [rs("1", 3, 1), rs("2", 2, 2)]
    assert [(r["metadata"]["name"], n) for r, n in rollout.unhealthy_first(sets, 5)] == [("1", 1)]
    assert [(r["metadata"]["name"], n) for r, n in rollout.unhealthy_first(sets, 1)] == [("1", 2)]


def test_a_larger_deployment_grows_its_sets_in_proportion():
    d = deployment(15)
    sets = [rs("1", 8, **{rollout.MAXIMUM: "13"}), rs("2", 5, **{rollout.MAXIMUM: "13"})]
    sizes = {r["metadata"]["name"]: n for r, n in rollout.proportional(d, sets)}
    assert sum(sizes.values()) == 19  # 15 + 25 %
    assert sizes["1"] > sizes["2"] > 5


def test_equal_templates_have_one_hash_and_others_another():
    one = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    same = {
        "metadata": {"labels": {"a": "b", "pod-template-hash": "x"}, "creationTimestamp": None},
        "spec": {"containers": [{"name": "c", "image": "i:1", "env": []}]},
    }
    other = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    assert equal_templates(one, same)
    assert template_hash(one) == template_hash(same)
    assert template_hash(one) != template_hash(other)
    assert template_hash(one) != template_hash(one, collisions=1)
    assert not set(template_hash(one)) & set("aeiou013")


def test_the_least_useful_pod_is_deleted_first():
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def pod(name, node="n1", phase="Running", ready=True, age=100, cost="0", since=50):
        condition = {
            "type": "Ready",
            "status": str(ready),
            "lastTransitionTime": stamp(now - dt.timedelta(seconds=since)),
        }
        return {
            "metadata": {
                "name": name,
                "creationTimestamp": stamp(now - dt.timedelta(seconds=age)),
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost},
            },
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [condition]},
        }

    pods = [
        pod("steady", node="n2"),
        pod("young", node="n3", since=5),
        pod("crowded-1", node="n1"),
        pod("crowded-2", node="n1"),
        pod("cheap", node="n4", cost="-5"),
        pod("unready", node="n5", ready=False),
        pod("pending", node="n6", phase="Pending", ready=False),
        pod("unassigned", node="", phase="Pending", ready=False),
    ]
    order = [p["metadata"]["name"] for p in victims(pods, 7, pods, now)]
    assert order[:4] == ["unassigned", "pending", "unready", "cheap"]
    assert set(order[4:6]) == {"crowded-1", "crowded-2"}
    assert order[6] == "young"


def node(name: str, cpu: str = "2", **spec) -> dict:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **spec.pop("labels", {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    }


def pod(name: str = "p", cpu: str = "500m", **spec) -> dict:
    resources = {"requests": {"cpu": cpu}}
    return {
        "metadata": {"name": name, "namespace": "x", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": resources}], **spec},
    }


def test_the_scheduler_says_why_in_upstreams_words():
    nodes = [
        node("a1", labels={"workload": "api"}),
        node("a2", labels={"workload": "api"}, unschedulable=True),
        node("w1"),
        node("c1", taints=[{"key": "workload", "value": "cache", "effect": "NoSchedule"}]),
    ]
    busy = pod("busy", "1800m", nodeName="a1")
    wanted = pod(nodeSelector={"workload": "api"})
    placed, why = Cluster(nodes, [busy], {}).place(wanted)
    assert placed is None
    assert why == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {workload: cache}, 1 node(s) were unschedulable. preemption: 0/4 nodes "
        "are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
    )
    assert Cluster([], [], {}).place(wanted) == (None, "no nodes available to schedule pods")


def test_anti_affinity_counts_pods_that_are_being_placed():
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    nodes = [node("n1"), node("n2")]
    first, second = pod("first", affinity=affinity), pod("second", affinity=affinity)
    chosen, _ = Cluster(nodes, [], {}).place(first)
    other, _ = Cluster(nodes, [first], {"first": chosen}).place(second)
    assert {chosen, other} == {"n1", "n2"}
    stranger = pod("stranger")
    taken = {"first": "n1", "second": "n2"}
    assert (
        Cluster(nodes, [first, second], taken)
        .place(stranger)[1]
        .startswith("0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.")
    )


def test_tolerations_match_by_key_effect_and_value():
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    cases = [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ]
    for toleration, expected in cases:
        assert tolerates({"spec": {"tolerations": [toleration]}}, taint) is expected


def test_scaling_by_utilisation():
    hot = [PodUsage(100, 140), PodUsage(100, 140)]
    assert propose(2, hot, 70, None).replicas == 4
    assert propose(2, hot, 70, None).utilization == 140
    assert propose(2, [PodUsage(100, 74)] * 2, 70, None).replicas == 2  # within a tenth
    # a pod without metrics is taken as idle when growing: no overshooting
    assert propose(3, [*hot, PodUsage(100, None)], 70, None).replicas == 4
    # and as busy when shrinking
    assert propose(3, [PodUsage(100, 10), PodUsage(100, 10), PodUsage(100, None)], 70, None).replicas == 2
    with pytest.raises(ValueError, match="did not receive metrics"):
        propose(2, [PodUsage(100, None)] * 2, 70, None)


def test_scaling_is_limited_and_stabilised():
    up = {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 30},
                {"type": "Pods", "value": 4, "periodSeconds": 30},
            ],
        }
    }
    first = decide(5, 40, 5, 50, up, History(), 0.0)
    assert (first.replicas, first.limited[1]) == (10, "ScaleUpLimit")
    top = decide(5, 40, 5, 8, up, History(), 0.0)
    assert (top.replicas, top.limited[1]) == (8, "TooManyReplicas")
    history = History()
    assert decide(8, 8, 2, 10, None, history, 0.0).replicas == 8
    held = decide(8, 2, 2, 10, None, history, 100.0)
    assert (held.replicas, held.able[0]) == (8, "ScaleDownStabilized")
    assert decide(8, 2, 2, 10, None, history, 500.0).replicas == 2


def test_three_way_comparison_ignores_what_others_added_and_sees_what_git_dropped():
    wanted = {
        "metadata": {"name": "d"},
        "spec": {"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]},
    }
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    live = {
        "metadata": {"name": "d", "uid": "1"},
        "spec": {
            "replicas": 5,
            "containers": [{"name": "c", "image": "i:1", "env": env, "imagePullPolicy": "Always"}],
        },
    }
    assert not threeway.out_of_sync(wanted, live, [])
    before = {
        "metadata": {"name": "d"},
        "spec": {"containers": [{"name": "c", "image": "i:1", "env": env}]},
    }
    import json

    live["metadata"]["annotations"] = {threeway.LAST_APPLIED: json.dumps(before)}
    assert threeway.out_of_sync(wanted, live, [])
    patch = threeway.apply_patch(wanted, live)
    assert {"name": "B", "$patch": "delete"} in patch["spec"]["containers"][0]["env"]
    changed = {**wanted, "spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    assert threeway.out_of_sync(changed, live, [])
    assert not threeway.out_of_sync(
        {"metadata": {}, "spec": {"replicas": 3}},
        {"metadata": {}, "spec": {"replicas": 5}},
        ["/spec/replicas"],
    )


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [("500m", 500), ("2", 2000), ("1Gi", 1024**3 * 1000), ("1.5", 1500), ("1e3", 1_000_000), ("100k", 10**8)],
)
def test_quantities(text, thousandths):
    assert millis(text) == thousandths


def test_a_wrong_quantity_is_refused():
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        quantity("12 apples")


def test_percentages_round_both_ways():
    assert int_or_percent("25%", 5, round_up=True) == 2
    assert int_or_percent("25%", 5, round_up=False) == 1
    assert int_or_percent(3, 5, round_up=True) == 3


def test_selectors():
    labels = {"app": "web", "tier": "front"}
    assert not matches(None, labels)
    assert matches({}, labels)
    expression = {"key": "tier", "operator": "In", "values": ["front", "back"]}
    assert matches({"matchLabels": {"app": "web"}, "matchExpressions": [expression]}, labels)
    assert not matches({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, labels)


def test_a_condition_keeps_its_transition_time_until_its_status_changes():
    early, late = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    ready = {"type": "Ready", "status": "True"}
    first = with_condition([], ready, early)
    assert with_condition(first, ready, late) == first
    worse = with_condition(first, {"type": "Ready", "status": "False", "reason": "X"}, late)
    assert worse[0]["lastTransitionTime"] == stamp(late)


def test_the_clock_scales_durations_and_keeps_stamps_real():
    clock = Clock(50)
    assert clock.scaled(10) == 0.2
    moment = clock.now() - dt.timedelta(seconds=2)
    assert 100 <= clock.since(moment) < 150
    assert parse_stamp(stamp(moment)) == moment.replace(microsecond=0)
    with pytest.raises(ValueError, match="above zero"):
        Clock(0)


async def test_a_key_is_worked_on_once_at_a_time_and_not_lost():
    queue = Queue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")  # changed again while it is worked on
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    queue.done("a")
    assert await waiting == "a"
    queue.done("a")
    queue.add_after("b", 5.0)
    queue.add_after("b", 0.01)  # the earlier of two timers wins
    assert await asyncio.wait_for(queue.get(), 2) == "b"
    queue.close()
