"""Images on the nodes: pulling, back-off, and what is there already.

Source: kubernetes pkg/kubelet/images/image_manager.go; reasons and messages are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from opslib.sandbox.client import Manifest
from opslib.sandbox.kubelet.backoff import PULL_BASE, PULL_CAP, Backoff
from opslib.sandbox.workloads.protocol import Images, Pull

Event = Callable[[str, str, str], None]  # type, reason, message


@dataclass
class ImageCache:
    """What was pulled to which node."""

    present: dict[tuple[str, str], str] = field(default_factory=dict)  # (node, reference) -> digest

    def add(self, node: str, ref: str, digest: str) -> None:
        self.present[(node, ref)] = digest

    def digest(self, node: str, ref: str) -> str | None:
        return self.present.get((node, ref))


def policy_of(container: Manifest) -> str:
    """imagePullPolicy, with the API's default: Always for :latest, else IfNotPresent."""
    policy = container.get("imagePullPolicy")
    if policy:
        return str(policy)
    ref = str(container["image"])
    tail = ref.rsplit("/", 1)[-1]
    if "@" in ref:
        return "IfNotPresent"
    return "Always" if ":" not in tail or tail.endswith(":latest") else "IfNotPresent"


def image_id(ref: str, digest: str) -> str:
    """REPOSITORY@sha256:..., as containerd reports it."""
    repository = ref.split("@", 1)[0]
    head, _, tail = repository.rpartition("/")
    name = tail.split(":", 1)[0]
    return f"{head}/{name}@{digest}" if head else f"{name}@{digest}"


@dataclass
class PullState:
    """One container's way to its image. Times are platform seconds of the kubelet's clock."""

    pull: Pull | None = None  # under way
    done_at: float = 0.0
    failed_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(PULL_BASE, PULL_CAP))
    error: str = ""
    told: bool = False  # the event of this back-off was sent


@dataclass(frozen=True)
class Waiting:
    """Not yet: the waiting state to show, and platform seconds until the next look."""

    reason: str
    message: str
    seconds: float


def advance(
    state: PullState,
    images: Images,
    cache: ImageCache,
    node: str,
    pod: Manifest,
    container: Manifest,
    now: float,
    event: Event,
) -> str | Waiting:
    """One step towards the image of a container: its digest when it is there, else why not."""
    ref, policy = str(container["image"]), policy_of(container)
    present = cache.digest(node, ref)
    if state.pull is None and present is not None and policy != "Always":
        event("Normal", "Pulled", f'Container image "{ref}" already present on machine')
        return present
    if state.pull is None and policy == "Never":
        text = f'Container image "{ref}" is not present with pull policy of Never'
        event("Warning", "ErrImageNeverPull", text)
        return Waiting("ErrImageNeverPull", text, 10.0)
    if state.pull is None:
        left = state.backoff.wait(state.failed_at, now) if state.error else 0.0
        if left > 0:
            if not state.told:
                event("Normal", "BackOff", f'Back-off pulling image "{ref}"')
                event("Warning", "Failed", "Error: ImagePullBackOff")
                state.told = True
            text = f'Back-off pulling image "{ref}": ErrImagePull: {state.error}'
            return Waiting("ImagePullBackOff", text, left)
        event("Normal", "Pulling", f'Pulling image "{ref}"')
        state.pull = images.pull(ref, pod)
        state.done_at = now + max(0.0, state.pull.seconds)
    if now < state.done_at:
        return Waiting("ContainerCreating", "", state.done_at - now)
    pull, state.pull = state.pull, None
    if pull.ok:
        state.error = ""
        cache.add(node, ref, pull.digest)
        took = f"{pull.seconds:.3f}s" if pull.seconds >= 1 else f"{round(pull.seconds * 1000)}ms"
        text = f'Successfully pulled image "{ref}" in {took} ({took} including waiting).'
        event("Normal", "Pulled", text)
        return pull.digest
    state.error, state.failed_at, state.told = pull.message, now, False
    state.backoff.next(now)
    event("Warning", "Failed", f'Failed to pull image "{ref}": {pull.message}')
    event("Warning", "Failed", "Error: ErrImagePull")
    # shown for a moment, then the back-off begins
    return Waiting("ErrImagePull", pull.message, min(2.0, state.backoff.current / 4))
