"""Who answered a request: the gateway, a backend through it, the ingress itself, or the maintenance page."""

from __future__ import annotations

import json
from collections.abc import Mapping

MAINTENANCE = "maintenance page"
NO_ROUTE = "ingress: no route for this host"
NO_ENDPOINT = "ingress: no ready endpoint"
BAD_GATEWAY = "ingress: endpoint refused"
TIMED_OUT = "ingress: endpoint too slow"
INGRESS = "ingress"
APPLICATION = "application"


def served_by(status: int, headers: Mapping[str, str], body: str) -> str:
    """Who made this answer, by its form.

    ingress-nginx answers for itself with nginx's own HTML pages (404 default backend, 502, 503, 504); the gateway and the
    services behind it answer JSON. A page with Retry-After or our marker on a 503 is a maintenance page.
    """
    lower = {key.lower(): value for key, value in headers.items()}
    page = body.lstrip().lower()
    is_html = "html" in lower.get("content-type", "") or page.startswith(("<html", "<!doctype"))
    if lower.get("x-maintenance") or (status == 503 and is_html and "<hr><center>nginx" not in page):
        return MAINTENANCE
    if not is_html:
        return APPLICATION if _is_json(body) or status < 500 else INGRESS
    if "<center>nginx" in page or page.startswith("default backend"):
        return {404: NO_ROUTE, 502: BAD_GATEWAY, 503: NO_ENDPOINT, 504: TIMED_OUT}.get(status, INGRESS)
    return APPLICATION


def failed(status: int, who: str) -> bool:
    """Whether a user would call this answer a failure: a 5xx, or a host that the ingress does not know.

    401, 403, 404 and 429 of the application are answers: the platform works (B3).
    """
    return status >= 500 or who == NO_ROUTE


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return body.lstrip().startswith(("{", "["))  # cut off after the head
    return True
