"""The columns of every frame that a Cluster read returns, also when the frame is empty.

Times are UTC time stamps, `..._seconds` seconds, cpu cores, memory bytes; `images` a sorted list of references.
"""

from __future__ import annotations

COLUMNS: dict[str, list[str]] = {
    "deployments": [
        "deployment", "desired", "ready", "available", "updated", "unavailable", "image", "images", "revision",
        "paused", "rollout", "message", "owner", "age_seconds", "created",
    ],
    "pods": [
        "pod", "deployment", "phase", "ready", "restarts", "waiting_reason", "waiting_message", "last_exit_code",
        "last_reason", "last_finished", "image", "image_id", "node", "revision_hash", "terminating", "reason",
        "message", "age_seconds", "started",
    ],
    "revisions": [
        "deployment", "revision", "replicaset", "created", "images", "template_hash", "current", "replicas", "ready",
        "earlier_revisions", "template_differs_from_current", "same_images_as_current", "served_seconds",
    ],
    "rollback_candidates": [
        "revision", "replicaset", "created", "images", "candidate", "preferred", "why",
        "template_differs_from_current", "same_images_as_current", "served_seconds",
    ],
    "recent_changes": ["at", "kind", "name", "what", "by", "revision", "before", "after"],
    "endpoints": ["service", "ready", "not_ready", "slices", "selector", "not_ready_pods"],
    "ingresses": [
        "ingress", "host", "path", "service", "port", "class", "tls_secret", "address", "claims", "owner", "created",
    ],
    "hpas": [
        "hpa", "deployment", "min", "max", "current", "desired", "metrics", "active", "able", "limited", "message",
    ],
    "quotas": ["quota", "resource", "hard", "used", "free", "used_share"],
    "pdbs": ["pdb", "deployment", "min_available", "max_unavailable", "allowed", "healthy", "needed", "expected"],
    "nodes": [
        "node", "ready", "schedulable", "cpu_allocatable", "cpu_requested", "memory_allocatable", "memory_requested",
        "pods_allocatable", "pods", "labels", "taints", "zone", "message", "age_seconds",
    ],
    "events": ["at", "type", "reason", "kind", "name", "message", "count", "source"],
    "logs": ["at", "pod", "container", "previous", "level", "message"],
    "log_messages": ["count", "level", "message", "pods", "first", "last", "example"],
    "applications": [
        "application", "app_namespace", "repository", "path", "target_revision", "auto_sync", "self_heal", "prune",
        "sync", "health", "last_sync", "operation", "message", "resources",
    ],
    "headroom": ["limit", "allows", "needed", "ok", "why"],
    "identity": ["user", "groups"],
    "permissions": ["verb", "resource", "name", "allowed"],
}  # fmt: skip
