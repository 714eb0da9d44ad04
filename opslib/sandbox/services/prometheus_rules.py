"""The alert rules of the sandbox's Prometheus: those of PLATFORM.md 4.3 whose metrics somebody exports.

The platform's own rules are wrong where noted there: they count 4xx as errors, use a counter that the
gateway does not export, and cannot see a target that vanished. These ask what was meant, and each names its
runbook, which the platform's do not. Windows and waiting times are the platform's divided by the sandbox's
speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

SCRAPE = 1.0  # seconds between two scrapes
EDGE = "nginx_ingress_controller_requests"
DURATION = "nginx_ingress_controller_request_duration_seconds_bucket"
P0 = "incident-response/p0-service-down"
ERRORS = "incident-response/p1-high-error-rate"
SLOW = "incident-response/p1-slow-response-times"


@dataclass(frozen=True)
class Rule:
    """One alert; `{w}` in its expression is the window, given (like `wait`) in the platform's seconds."""

    alert: str
    expression: str
    window: float
    wait: float
    severity: str
    category: str
    summary: str
    runbook: str


def _share(status: str) -> str:
    counted = f'sum by (ingress) (rate({EDGE}{{status=~"{status}"}}[{{w}}]))'
    return f"({counted} / sum by (ingress) (rate({EDGE}[{{w}}])))"


def _quantile(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (ingress, le) (rate({DURATION}[{{w}}])))"


RULES = (
    Rule("Watchdog", "vector(1)", 60, 0, "none", "monitoring",
         "Always firing: its absence means that alerting itself is down.", "monitoring/critical-alerts"),
    Rule("TargetDown", "up == 0", 60, 60, "critical", "monitoring",
         "Prometheus cannot scrape {{ $labels.job }}: all answers are stale.", "monitoring/critical-alerts"),
    Rule("ServiceDown",
         "(kube_deployment_spec_replicas > 0) * 0 + on (namespace, deployment) "
         "kube_deployment_status_replicas_available == 0",
         60, 60, "critical", "availability", "No replica of {{ $labels.deployment }} is available.", P0),
    Rule("HighErrorRate", _share("5..") + " > 0.05", 300, 300, "warning", "availability",
         "More than 5 % of the requests at {{ $labels.ingress }} fail.", ERRORS),
    Rule("CriticalErrorRate", _share("5..") + " > 0.10", 300, 120, "critical", "availability",
         "More than 10 % of the requests at {{ $labels.ingress }} fail.", P0),
    Rule("SLAViolationAvailability", _share("5..") + " > 0.001", 300, 300, "critical", "sla",
         "Availability at {{ $labels.ingress }} is below 99.9 %.", ERRORS),
    Rule("HighResponseTime", _quantile(0.95) + " > 2", 300, 300, "warning", "performance",
         "The 95th percentile at {{ $labels.ingress }} is above 2 s.", SLOW),
    Rule("HighMemoryUsage",
         'max by (namespace, pod, container) (container_memory_working_set_bytes{container!=""}) > 0.9 * '
         'max by (namespace, pod, container) (kube_pod_container_resource_limits{resource="memory"})',
         300, 300, "warning", "resources",
         "{{ $labels.pod }} is at over 90 % of its memory limit.", "common-issues/high-memory-usage"),
    Rule("PodCrashLooping", 'max by (namespace, pod, container) '
         '(kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff"}) > 0',
         60, 60, "critical", "availability", "{{ $labels.pod }} is crash-looping.",
         "common-issues/pod-crashloopbackoff"),
    Rule("ImagePullFailing", 'max by (namespace, pod, container) '
         '(kube_pod_container_status_waiting_reason{reason=~"ErrImagePull|ImagePullBackOff"}) > 0',
         60, 60, "warning", "availability", "{{ $labels.pod }} cannot pull its image.",
         "common-issues/image-pull-backoff"),
)  # fmt: skip


def rules(speed: float) -> str:
    """The rules file (YAML) for a sandbox of this speed; a window never holds fewer than ten scrapes."""
    made = [
        {
            "alert": rule.alert,
            "expr": rule.expression.replace("{w}", _seconds(max(rule.window / speed, 10 * SCRAPE))),
            "for": _seconds(rule.wait / speed),
            "labels": {"severity": rule.severity, "category": rule.category},
            "annotations": {"summary": rule.summary, "runbook": rule.runbook},
        }
        for rule in RULES
    ]
    return yaml.safe_dump(
        {"groups": [{"name": "pss-nano", "interval": "1s", "rules": made}]}, sort_keys=False
    )


def _seconds(value: float) -> str:
    return f"{round(value)}s"
