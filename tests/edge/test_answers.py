"""Who answered: by the form of the answer."""

from __future__ import annotations

import pytest

from opslib.edge import answers

NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "who", "failed"),
    [
        (200, JSON, '{"data":[]}', answers.APPLICATION, False),
        (500, JSON, '{"error":"Internal Server Error"}', answers.APPLICATION, True),
        (500, JSON, '{"error":"cut off after the he', answers.APPLICATION, True),
        (401, JSON, '{"error":"Unauthorized"}', answers.APPLICATION, False),
        (404, JSON, '{"error":"Not Found"}', answers.APPLICATION, False),
        (404, HTML, NGINX.format("404 Not Found"), answers.NO_ROUTE, True),
        (502, HTML, NGINX.format("502 Bad Gateway"), answers.BAD_GATEWAY, True),
        (503, HTML, NGINX.format("503 Service Temporarily Unavailable"), answers.NO_ENDPOINT, True),
        (504, HTML, NGINX.format("504 Gateway Time-out"), answers.TIMED_OUT, True),
        (503, HTML, "<!doctype html><h1>We will be back soon</h1>", answers.MAINTENANCE, True),
        (503, {**JSON, "X-Maintenance": "opslib"}, "{}", answers.MAINTENANCE, True),
        (200, HTML, "<!doctype html><h1>Portal</h1>", answers.APPLICATION, False),
        (503, {}, "upstream connect error", answers.INGRESS, True),
    ],
)
def test_served_by(status: int, headers: dict[str, str], body: str, who: str, failed: bool) -> None:
    assert answers.served_by(status, headers, body) == who
    assert answers.failed(status, who) is failed
