"""The Kubernetes cluster as a notebook sees it: reads give DataFrames, writes give Changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from opslib.cluster.client import Api
from opslib.cluster.columns import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from opslib.cluster.access import Identity
    from opslib.cluster.changes.change import KubernetesChange
    from opslib.settings import Profile

Json = Any


class Cluster:
    """One cluster and one namespace of it. Building it connects to nothing.

    Every read raises Unreachable, NotPermitted, NotFound or NotInstalled (all SourceError) naming its target. Every write
    returns a Change that touches nothing; it raises NotApplicable (a Refused) when it would do nothing or cannot be made,
    and `what` says why. Safe to use from several threads.
    """

    COLUMNS: ClassVar[dict[str, list[str]]] = COLUMNS

    def __init__(self, profile: Profile, *, connect_seconds: float = 3.0, read_seconds: float = 6.0) -> None:
        self.profile = profile
        self.namespace = profile.namespace
        self.api = Api(profile, connect_seconds=connect_seconds, read_seconds=read_seconds)
        self._lock = threading.Lock()
        self._uid = ""

    @property
    def name(self) -> str:
        """The cluster's name in the kubeconfig. Raises SettingsError without a usable kubeconfig."""
        return self.api.cluster

    # --- who and where -------------------------------------------------------------------------------------------

    def cluster_uid(self) -> str:
        """The uid of namespace kube-system, which tells one cluster from another."""
        from opslib.cluster import access

        with self._lock:
            if not self._uid:
                self._uid = access.cluster_uid(self.api)
            return self._uid

    def version(self) -> str:
        """The API server's version, e.g. v1.32.2."""
        return str(self.api.get("/version").get("gitVersion", ""))

    def identity(self) -> Identity:
        """Who the API takes us for: user and groups (SelfSubjectReview; writes nothing)."""
        from opslib.cluster import access

        return access.identity(self.api)

    def can(self, verb: str, resource: str, name: str = "", *, namespace: str | None = None) -> bool:
        """Whether the identity may do it, e.g. can('patch', 'deployments', 'api-gateway') (SelfSubjectAccessReview).

        `resource` is a kind opslib knows (any form), or plural.group, with /subresource if wanted.
        """
        from opslib.cluster import access
        from opslib.cluster.kinds import kind_of

        full, _, subresource = resource.partition("/")
        try:
            kind = kind_of(full)
            group, plural, inside = kind.group, kind.plural, kind.namespaced
        except KeyError:
            plural, _, group = full.partition(".")
            inside = True
        where = (self.namespace if namespace is None else namespace) if inside else ""
        return access.allowed(self.api, access.Wish(verb, group, plural, where, name, subresource))[0]

    # --- what runs -----------------------------------------------------------------------------------------------

    def deployments(self) -> pd.DataFrame:
        """Every Deployment of the namespace.

        Columns: deployment, desired, ready, available, updated, unavailable (pods), image (first container), images,
        revision, paused, rollout (complete, in progress, stalled), message (why it is not complete), owner (Argo CD
        Application, '' without), age_seconds, created (UTC).
        """
        from opslib.cluster import gitops, workloads

        return workloads.deployments(self.api, self.namespace, gitops.owners_or_none(self.api))

    def deployment(self, deployment: str) -> Json:
        """One Deployment as plain JSON, for `headroom`. Raises NotFound."""
        from opslib.cluster import workloads

        return workloads.deployment(self.api, self.namespace, deployment)

    def pods(self, deployment: str = "") -> pd.DataFrame:
        """The pods that the Deployment's own selector matches (G1), or all of the namespace.

        Columns: pod, deployment, phase, ready, restarts, waiting_reason, waiting_message, last_exit_code, last_reason,
        last_finished (UTC; the newest end of a container), image, image_id, node, revision_hash, terminating, reason and
        message (of the pod: Evicted, Unschedulable and why), age_seconds, started (UTC). Raises NotFound when a named
        Deployment has no pod at all: that is not 'no failing pod'.
        """
        from opslib.cluster import workloads

        return workloads.pods(self.api, self.namespace, deployment)

    def revisions(self, deployment: str) -> pd.DataFrame:
        """The kept revisions of a Deployment, newest first, from its ReplicaSets (A2).

        Columns: deployment, revision, replicaset, created (UTC), images, template_hash, current, replicas, ready (pods),
        earlier_revisions (numbers this template had before: it was gone back to), template_differs_from_current (list of
        paths), same_images_as_current, served_seconds (until the next newer template was made).
        """
        from opslib.cluster import workloads

        return workloads.revisions(self.api, self.namespace, deployment)

    def recent_changes(self, hours: float = 24.0) -> pd.DataFrame:
        """What changed lately over every Deployment and StatefulSet and their settings, newest first (A1, A2).

        Rollouts from ReplicaSets, edits of ConfigMaps, autoscalers, Ingresses, Services and quotas from managedFields, Argo
        CD's syncs. Columns: at (UTC), kind, name, what, by (field manager or user, '' unknown), revision, before, after
        (image references).
        """
        from opslib.cluster import history

        return history.recent_changes(self.api, self.namespace, hours)

    # --- how requests get there ----------------------------------------------------------------------------------

    def endpoints(self, service: str = "") -> pd.DataFrame:
        """Ready addresses behind the Service, or behind every Service, from EndpointSlices.

        Columns: service, ready, not_ready (addresses), slices, selector, not_ready_pods. A Service without any slice has
        ready 0. Raises NotFound for a named Service that is not there.
        """
        from opslib.cluster import network

        return network.endpoints(self.api, self.namespace, service)

    def ingresses(self, host: str = "") -> pd.DataFrame:
        """Every rule of every Ingress of the namespace, or those that claim this host (A10).

        Columns: ingress, host, path, service, port, class, tls_secret, address (by its status), claims (how many Ingresses
        claim the same host and path; above 1 they fight), owner (Argo CD Application), created (UTC).
        """
        from opslib.cluster import gitops, network

        return network.ingresses(self.api, self.namespace, gitops.owners_or_none(self.api), host)

    # --- what limits it ------------------------------------------------------------------------------------------

    def hpas(self) -> pd.DataFrame:
        """The autoscalers. Columns: hpa, deployment, min, max, current, desired (replicas), metrics (name now/target %),
        active, able (True, False, Unknown), limited (reason, '' not limited), message (why it cannot scale)."""
        from opslib.cluster import capacity

        return capacity.hpas(self.api, self.namespace)

    def quotas(self) -> pd.DataFrame:
        """The quotas. Columns: quota, resource, hard, used, free (cores, bytes or objects), used_share (0 to 1)."""
        from opslib.cluster import capacity

        return capacity.quotas(self.api, self.namespace)

    def pdbs(self) -> pd.DataFrame:
        """The disruption budgets. Columns: pdb, deployment, min_available, max_unavailable, allowed (disruptions now),
        healthy, needed, expected (pods)."""
        from opslib.cluster import capacity
        from opslib.cluster.kinds import KINDS

        deployments = self.api.items(KINDS["deployment"].path(self.namespace))
        return capacity.pdbs(self.api, self.namespace, deployments)

    def nodes(self) -> pd.DataFrame:
        """The nodes and what is reserved on them.

        Columns: node, ready, schedulable, cpu_allocatable, cpu_requested (cores), memory_allocatable, memory_requested
        (bytes), pods_allocatable, pods, labels, taints, zone, message (why it is not ready), age_seconds. `attrs['counted']`
        says whose pods were counted.
        """
        from opslib.cluster import capacity

        return capacity.nodes(self.api, self.namespace)

    def headroom(
        self,
        deployment: str,
        replicas: int,
        *,
        connections_per_pod: int = 0,
        database: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Whether so many replicas could run, limit by limit (A4). See headroom.headroom for a pure function over frames.

        Columns: limit, allows, needed (pods), ok (True, False, None unknown), why.
        """
        from opslib.cluster import capacity, workloads
        from opslib.cluster.headroom import headroom

        return headroom(
            workloads.deployment(self.api, self.namespace, deployment),
            replicas,
            nodes=capacity.nodes(self.api, self.namespace),
            quotas=self.quotas(),
            hpas=self.hpas(),
            pods=workloads.pods(self.api, self.namespace),
            connections_per_pod=connections_per_pod,
            database=database,
        )

    # --- what it says --------------------------------------------------------------------------------------------

    def events(self, minutes: float = 60.0, *, warnings_only: bool = True) -> pd.DataFrame:
        """Events of the namespace, newest first. Columns: at (UTC, last seen), type, reason, kind, name, message, count,
        source."""
        from opslib.cluster import history

        return history.events(self.api, self.namespace, minutes, warnings_only=warnings_only)

    def logs(
        self,
        deployment: str = "",
        *,
        pod: str = "",
        minutes: float = 15.0,
        tail: int = 500,
        previous: bool = True,
    ) -> pd.DataFrame:
        """Log lines of every pod of the Deployment (or of one pod), each container, the one that ended before too.

        `tail` lines a container at most. Columns: at (UTC), pod, container, previous, level (error, warning, info, debug, ''
        unknown), message (colours stripped). `attrs['problems']` names logs that could not be read. Raises SourceError when
        none could; NotFound when there is no pod.
        """
        from opslib.cluster import logs

        return logs.logs(
            self.api,
            self.namespace,
            deployment=deployment,
            pod=pod,
            minutes=minutes,
            tail=tail,
            previous=previous,
        )

    def log_messages(
        self, deployment: str = "", *, pod: str = "", minutes: float = 15.0, tail: int = 500, top: int = 20
    ) -> pd.DataFrame:
        """The most frequent messages of `logs`, alike but for numbers and ids, errors first.

        Columns: count, level, message, pods, first, last (UTC), example.
        """
        from opslib.cluster.logs import cluster_messages

        return cluster_messages(self.logs(deployment, pod=pod, minutes=minutes, tail=tail), top)

    # --- Argo CD -------------------------------------------------------------------------------------------------

    def applications(self) -> pd.DataFrame:
        """Argo CD's Applications.

        Columns: application, app_namespace, repository, path, target_revision, auto_sync, self_heal, prune, sync, health,
        last_sync (UTC), operation (phase), message, resources (list of Kind/name). Raises NotInstalled without Argo CD.
        """
        from opslib.cluster import gitops

        return gitops.applications(self.api)

    def owner_of(self, kind: str, name: str) -> str:
        """The Argo CD Application that manages the object; '' without. Raises NotFound when the object is not there."""
        from opslib.cluster import gitops
        from opslib.cluster.changes.pausing import applications_or_none
        from opslib.cluster.kinds import kind_of

        found = kind_of(kind)
        item = self.api.get(found.path(self.namespace, name))
        app = gitops.owner(item, found.kind, applications_or_none(self.api))
        return str(app["metadata"]["name"]) if app else ""

    # --- changes -------------------------------------------------------------------------------------------------

    def rollback_candidates(self, deployment: str) -> pd.DataFrame:
        """Every revision but the current one, newest first: whether going back to it can help (A3).

        Columns: revision, replicaset, created (UTC), images, candidate, preferred (the one that `rollback` takes), why,
        template_differs_from_current, same_images_as_current, served_seconds.
        """
        from opslib.cluster.changes import rollback

        return rollback.rollback_candidates(self.api, self.namespace, deployment)

    def rollback(self, deployment: str, revision: int | None = None) -> KubernetesChange:
        """Go back to a revision: the preferred candidate, or the one named. Exact undo, server dry run.

        When Argo CD owns the Deployment and syncs by itself, pausing it is the first edit of the same change. Raises
        NotApplicable when there is no revision to go back to, or the undo would change nothing.
        """
        from opslib.cluster.changes import rollback

        return rollback.rollback(self.api, self.namespace, deployment, revision, self.cluster_uid())

    def restart(self, deployment: str) -> KubernetesChange:
        """Replace the pods one after another. Raises NotApplicable for a paused Deployment, or one at zero."""
        from opslib.cluster.changes import restart

        return restart.restart(self.api, self.namespace, deployment, self.cluster_uid())

    def scale(self, deployment: str, replicas: int, *, raise_maximum: bool = False) -> KubernetesChange:
        """At least so many replicas: the autoscaler's minimum where there is one, else the Deployment's own (G7).

        Raises NotApplicable when it has as many already, or the autoscaler's maximum is in the way and `raise_maximum` is
        not given.
        """
        from opslib.cluster.changes import scaling

        return scaling.scale(
            self.api, self.namespace, deployment, replicas, self.cluster_uid(), raise_maximum=raise_maximum
        )

    def scale_many(self, replicas: Mapping[str, int], *, raise_maximum: bool = False) -> KubernetesChange:
        """Several Deployments to their replica counts, in this order, as one change. As `scale` otherwise."""
        from opslib.cluster.changes import scaling

        return scaling.scale_many(
            self.api, self.namespace, replicas, self.cluster_uid(), raise_maximum=raise_maximum
        )

    def maintenance_mode(
        self,
        ingress: str = "api-gateway",
        *,
        message: str = "We are working on it. Please try again in a few minutes.",
        retry_after: int = 300,
    ) -> KubernetesChange:
        """A maintenance page (503 with Retry-After, seconds) on every host of the Ingress (A6).

        Undo points the Ingresses back first, then removes the page. Raises NotApplicable when the page is on already.
        """
        from opslib.cluster.changes import maintenance

        return maintenance.maintenance_mode(
            self.api, self.namespace, ingress, message, retry_after, self.cluster_uid()
        )

    def pause_sync(self, application: str) -> KubernetesChange:
        """Switch Argo CD's automated sync of an Application off. Raises NotApplicable when it is off already."""
        from opslib.cluster.changes import pausing

        return pausing.pause_sync(self.api, self.namespace, application, self.cluster_uid())

    def resume_sync(
        self, application: str, *, prune: bool = True, self_heal: bool = True
    ) -> KubernetesChange:
        """Switch automated sync on again: git wins at once. Raises NotApplicable when it is on already."""
        from opslib.cluster.changes import pausing

        return pausing.resume_sync(
            self.api, self.namespace, application, self.cluster_uid(), prune=prune, self_heal=self_heal
        )

    def revive(self, undo_spec: Mapping[str, Json]) -> KubernetesChange:
        """The Change that takes an applied one back, from the JSON its `undo_spec` gave, in any process.

        Raises Refused for the spec of another noun or version.
        """
        from opslib.cluster.changes import change

        return change.revive(self.api, undo_spec)
