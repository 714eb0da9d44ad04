"""Errors that the API answers with: each one is a Kubernetes ``Status`` object.

Texts and reasons follow k8s.io/apimachinery/pkg/api/errors and k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """A request that failed, with the HTTP code, reason and details of Kubernetes' Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.headers = details, headers or {}

    def status(self) -> Json:
        """The Status object (meta/v1) that goes over the wire."""
        body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = {k: v for k, v in self.details.items() if v not in (None, "", [])}
        body["code"] = self.code
        return body


def qualified(plural: str, group: str) -> str:
    """``deployments.apps``, or ``pods`` for the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404 for an object that does not exist."""
    details = {"name": name, "group": group, "kind": plural}
    return ApiError(404, "NotFound", f'{qualified(plural, group)} "{name}" not found', details)


def no_such_path() -> ApiError:
    """404 for a resource or path this server does not serve."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    details = {"name": name, "group": group, "kind": plural}
    return ApiError(409, "AlreadyExists", f'{qualified(plural, group)} "{name}" already exists', details)


def conflict(plural: str, group: str, name: str, why: str | None = None) -> ApiError:
    """409 for a write on a version of the object that is no longer current."""
    text = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {text}'
    return ApiError(409, "Conflict", message, {"name": name, "group": group, "kind": plural})


def forbidden(plural: str, group: str, name: str, why: str) -> ApiError:
    """403: the name and the reason as admission and RBAC give them."""
    subject = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    message = f"{subject} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, {"name": name, "group": group, "kind": plural})


def unauthorized() -> ApiError:
    """401: no token, or one that is not known."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def method_not_allowed() -> ApiError:
    """405: the resource exists and does not support this verb."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def unsupported_media_type(accepted: list[str]) -> ApiError:
    """415, naming what would be accepted."""
    text = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", text + ", ".join(accepted))


def not_acceptable(accepted: list[str]) -> ApiError:
    """406, naming what the server can answer with."""
    text = "only the following media types are accepted: "
    return ApiError(406, "NotAcceptable", text + ", ".join(accepted))


def expired(message: str) -> ApiError:
    """410: the resource version or continue token is too old."""
    return ApiError(410, "Expired", message)


def too_many_requests(message: str, causes: list[Json] | None = None) -> ApiError:
    """429, as the eviction API answers when a disruption budget forbids it."""
    return ApiError(429, "TooManyRequests", message, {"causes": causes} if causes else {})


def internal(message: str) -> ApiError:
    """500 with Kubernetes' prefix."""
    return ApiError(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )


class FieldError:
    """One entry of a 422: the field's path, the type of mistake and its text (field.Error)."""

    def __init__(self, kind: str, path: str, detail: str, value: object = None) -> None:
        self.kind, self.path, self.detail, self.value = kind, path, detail, value

    def text(self) -> str:
        """As field.Error.ErrorBody() writes it."""
        label = {
            "FieldValueRequired": "Required value",
            "FieldValueInvalid": "Invalid value",
            "FieldValueNotSupported": "Unsupported value",
            "FieldValueForbidden": "Forbidden",
            "FieldValueDuplicate": "Duplicate value",
            "FieldValueNotFound": "Not found",
            "FieldValueTypeInvalid": "Invalid value",
            "FieldValueTooLong": "Too long",
        }[self.kind]
        if self.kind in ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"):
            return f"{label}: {self.detail}" if self.detail else label
        shown = go_value(self.value)
        return f"{label}: {shown}: {self.detail}" if self.detail else f"{label}: {shown}"


def go_value(value: object) -> str:
    """A value as Go's field errors print it."""
    import json

    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"))


def invalid(kind: str, group: str, name: str, errors: list[FieldError]) -> ApiError:
    """422 with all the field errors, one or a bracketed list, as NewInvalid does."""
    texts = [f"{e.path}: {e.text()}" for e in errors]
    body = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    subject = f'{qualified(kind, group)} "{name}"'
    causes = [{"reason": e.kind, "message": e.text(), "field": e.path} for e in errors]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    return ApiError(422, "Invalid", f"{subject} is invalid: {body}", details)
