"""Create, update, patch and delete of stored objects: the registry's generic store (k8s.io/apiserver/pkg/registry).

Synchronous on purpose: one write is one step of the event loop, so writers cannot lose each other's updates.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opslib.sandbox.api import admission, apply, conversion, defaults, strategy, validation
from opslib.sandbox.api.errors import (
    ApiError,
    FieldError,
    Json,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    method_not_allowed,
    not_found,
)
from opslib.sandbox.api.garbage import Collector
from opslib.sandbox.api.registry import Registry, Resource
from opslib.sandbox.api.schemas import DecodeError, Schemas
from opslib.sandbox.api.store import Entry, Store, encode

PODS = ("", "pods")


@dataclass
class Options:
    """What a write's query says."""

    dry_run: bool = False
    manager: str = ""
    force: bool = False
    validation: str = "Warn"
    subresource: str = ""


class Objects:
    """Writes on the store, with everything that a genuine server does around them."""

    def __init__(self, store: Store, registry: Registry, schemas: Schemas) -> None:
        self.store, self.registry, self.schemas = store, registry, schemas
        self.garbage = Collector(store, registry, self.remove)

    # decoding

    def decode(
        self, resource: Resource, body: Any, options: Options, warnings: list[str], patch: bool = False
    ) -> Json:
        """A body as an object of the resource; raises 400 for a wrong kind, type or (Strict) unknown field."""
        if not isinstance(body, dict):
            raise bad_request("the object provided is unrecognized (must be of type " + resource.kind + ")")
        given = (body.get("apiVersion", ""), body.get("kind", ""))
        if not given[1] or not given[0]:
            if not patch and resource.crd is None:
                body["kind"], body["apiVersion"] = resource.kind, resource.api_version
            elif not patch:
                text = "Object 'Kind' is missing" if not given[1] else "Object 'apiVersion' is missing"
                raise bad_request(f"{text} in '{encode(body).decode()}'")
        elif given != (resource.api_version, resource.kind):
            if given[1] != resource.kind:
                group = resource.group or "v1"
                raise bad_request(
                    f'{given[1]} in version "{given[0].rpartition("/")[2]}" cannot be handled as a {resource.kind}: '
                    f"converting ({given[0]}.{given[1]}) to ({group}.{resource.kind}): unknown conversion"
                )
            raise bad_request(
                f"the API version in the data ({given[0]}) does not match the expected API version "
                f"({resource.api_version})"
            )
        head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        try:
            decoded = self.schemas.decode(resource, body)
        except DecodeError as error:
            if patch:
                problem = FieldError("FieldValueInvalid", "patch", str(error), _brief(body))
                raise invalid(resource.kind, resource.group, _name(body), [problem]) from None
            raise bad_request(head + str(error)) from None
        if decoded.unknown:
            found = ", ".join(f'unknown field "{u}"' for u in decoded.unknown)
            if options.validation == "Strict":
                if patch:
                    problem = FieldError(
                        "FieldValueInvalid", "patch", f"strict decoding error: {found}", _brief(body)
                    )
                    raise invalid(resource.kind, resource.group, _name(body), [problem])
                raise bad_request(head + f"strict decoding error: {found}")
            if options.validation == "Warn":
                warnings += [f'unknown field "{u}"' for u in decoded.unknown]
        body.pop("apiVersion", None)
        body.pop("kind", None)
        if not isinstance(body.get("metadata"), dict):
            body["metadata"] = {}
        return body

    # create

    def create(self, resource: Resource, namespace: str, body: Json, options: Options) -> Entry:
        """Create an object (decoded, without apiVersion and kind)."""
        obj = conversion.to_storage(resource, body)
        meta = obj["metadata"]
        if resource.namespaced:
            admission.check_bound_namespace(obj, namespace)
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        if meta.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        strategy.generate_name(meta)
        admission.namespace_open(self.store, resource, namespace, meta.get("name", ""))
        stored = self.stored(resource)
        if stored.crd is None:
            defaults.apply(stored.group, stored.kind, obj)
        if stored.kind == "Pod" and stored.group == "":
            admission.mutate_pod(self.store, obj)
        managed = meta.pop("managedFields", None)
        strategy.before_create(stored, obj, self.store)
        problems = validation.on_create(stored, obj)
        if stored.crd is None and not problems:
            problems = [validation.required(p) for p in self._missing(stored, obj)]
        if problems:
            raise invalid(resource.kind, resource.group, meta.get("name", ""), problems)
        if self.store.get(resource.key, namespace, meta["name"]):
            raise already_exists(resource.plural, resource.group, meta["name"])
        if resource.namespaced:
            admission.check_limits(self.store, stored, obj)
            admission.check_quota(self.store, stored, obj)
        apply.track(stored, obj, None, options.manager, managed, self.schemas)
        if options.dry_run:
            return Entry(obj, encode(obj), 0)
        entry = self.store.put(resource.key, namespace if resource.namespaced else "", meta["name"], obj)
        self.after_write(resource, entry, None)
        return entry

    def _missing(self, stored: Resource, obj: Json) -> list[str]:
        body = json.loads(encode({**obj, "apiVersion": stored.api_version, "kind": stored.kind}))
        try:
            missing = self.schemas.decode(stored, body).missing
        except DecodeError as error:
            raise bad_request(str(error)) from None
        # these are filled by others (status by controllers) or valid when empty
        return [m for m in missing if not m.startswith(("status.", "metadata."))]

    def stored(self, resource: Resource) -> Resource:
        if conversion.converted(resource):
            found = self.registry.for_storage(resource.key)
            assert found is not None
            return found
        return resource

    # update

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        options: Options,
        *,
        unconditional: bool = True,
    ) -> Entry:
        """Replace an object by what ``change`` makes of its current state (both in storage form).

        Raises ApiError 404, 409 (resourceVersion or uid differ) or 422.
        """
        old = self.store.get(resource.key, namespace, name)
        if old is None:
            raise not_found(resource.plural, resource.group, name)
        stored = self.stored(resource)
        obj = change(old.copy())
        meta = obj.setdefault("metadata", {})
        given = meta.get("resourceVersion")
        if given in (None, "", "0") and not unconditional:
            problem = FieldError(
                "FieldValueInvalid", "metadata.resourceVersion", "must be specified for an update", 0
            )
            raise invalid(resource.kind, resource.group, name, [problem])
        if given not in (None, "", "0") and given != str(old.rv):
            raise conflict(resource.plural, resource.group, name)
        if meta.get("name", name) != name:
            text = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise bad_request(text)
        uid = old.obj["metadata"].get("uid")
        if meta.get("uid") not in (None, "", uid):
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
            raise conflict(resource.plural, resource.group, name, why)
        meta["name"] = name
        if resource.namespaced:
            admission.check_bound_namespace(obj, namespace)
            meta["namespace"] = namespace
        obj = self._prepare_update(stored, obj, old, options)
        return self._finish_update(resource, namespace, name, obj, old, options)

    def _prepare_update(self, stored: Resource, obj: Json, old: Entry, options: Options) -> Json:
        meta, name = obj["metadata"], old.obj["metadata"]["name"]
        if options.subresource == "status":
            obj = strategy.status_update(stored, obj, old.copy())
            for key in ("uid", "creationTimestamp"):
                obj["metadata"][key] = old.obj["metadata"].get(key)
            return obj
        if stored.crd is None:
            defaults.apply(stored.group, stored.kind, obj)
        if stored.kind == "Pod" and stored.group == "" and not options.subresource:
            _keep_pod(obj, old.obj)
        strategy.before_update(stored, obj, old.obj)
        if meta.get("deletionTimestamp"):
            added = set(meta.get("finalizers") or ()) - set(old.obj["metadata"].get("finalizers") or ())
            if added:
                text = "no new finalizers can be added if the object is being deleted, found new finalizers "
                problem = FieldError(
                    "FieldValueForbidden", "metadata.finalizers", text + _strings(sorted(added))
                )
                raise invalid(stored.kind, stored.group, name, [problem])
        problems = validation.on_update(stored, obj, old.obj) if options.subresource in ("", "scale") else []
        if stored.crd is None and not problems and not options.subresource:
            problems = [validation.required(p) for p in self._missing(stored, obj)]
        if problems:
            raise invalid(stored.kind, stored.group, name, problems)
        return obj

    def _finish_update(
        self, resource: Resource, namespace: str, name: str, obj: Json, old: Entry, options: Options
    ) -> Entry:
        meta = obj["metadata"]
        if "status" in obj and obj["status"] is None:
            obj.pop("status")
        managed = meta.pop("managedFields", None)
        # without its resourceVersion and managers an unchanged object is not written (etcd3's store does the same)
        if _bare(obj) == _bare(old.obj) and not apply.changed(
            managed, old.obj["metadata"].get("managedFields")
        ):
            return old
        if resource.namespaced and options.subresource != "status":
            admission.check_quota(self.store, self.stored(resource), obj, old.obj)
        apply.track(
            self.stored(resource), obj, old.obj, options.manager, managed, self.schemas, options.subresource
        )
        if options.dry_run:
            meta["resourceVersion"] = str(old.rv)
            return Entry(obj, encode(obj), old.rv)
        if (
            meta.get("deletionTimestamp")
            and not meta.get("finalizers")
            and self.garbage.may_go(resource, obj)
        ):
            meta["resourceVersion"] = str(old.rv)
            self.store.put(resource.key, namespace, name, obj)
            return self.remove(resource, namespace, name)
        entry = self.store.put(resource.key, namespace, name, obj)
        self.after_write(resource, entry, old)
        return entry

    # delete

    def remove(self, resource: Resource, namespace: str, name: str) -> Entry:
        """Take an object out of the store for good, and set off what follows."""
        entry = self.store.remove(resource.key, namespace, name)
        if resource.key == ("apiextensions.k8s.io", "customresourcedefinitions"):
            self.registry.remove_crd(name)
        if namespace:
            self._quota(resource, namespace, None, entry)
        self.garbage.gone(entry)
        return entry

    def delete(
        self, resource: Resource, namespace: str, name: str, body: Json, options: Options
    ) -> tuple[Entry, bool]:
        """Delete an object; True when it is gone, False when finalizers or grace hold it.

        Raises ApiError 404, 409 (preconditions).
        """
        entry = self.store.get(resource.key, namespace, name)
        if entry is None:
            raise not_found(resource.plural, resource.group, name)
        _preconditions(resource, entry, body.get("preconditions") or {})
        if resource.key == ("", "namespaces") and name in ("default", "kube-system", "kube-public"):
            raise forbidden("namespaces", "", name, "this namespace may not be deleted")
        if options.dry_run:
            return entry, True
        return self.garbage.delete(resource, namespace, name, body)

    # what follows a write

    def after_write(self, resource: Resource, entry: Entry, old: Entry | None) -> None:
        """Register CRDs, give a namespace its service account, keep quotas' status current."""
        key = resource.key
        if key == ("apiextensions.k8s.io", "customresourcedefinitions"):
            self.registry.add_crd(entry.obj)
        if key == ("", "namespaces") and old is None:
            self.populate_namespace(entry.obj["metadata"]["name"])
        namespace = entry.obj["metadata"].get("namespace", "")
        if namespace:
            self._quota(resource, namespace, entry, old)

    def _quota(self, resource: Resource, namespace: str, new: Entry | None, old: Entry | None) -> None:
        if self.store.items(admission.QUOTAS, namespace) and admission.quota_touched(
            resource.key, new.obj if new else None, old.obj if old else None
        ):
            admission.refresh_quotas(self.store, namespace)

    def populate_namespace(self, name: str) -> None:
        """The default ServiceAccount and the root CA ConfigMap, which controllers make on a genuine cluster."""
        options = Options(manager="kube-controller-manager")
        for kind, body in (
            ("serviceaccounts", {"metadata": {"name": "default"}}),
            ("configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self.root_ca}}),
        ):
            resource = self.registry.find("", "v1", kind)
            assert resource is not None
            if not self.store.get(("", kind), name, str(body["metadata"]["name"])):
                self.create(resource, name, body, options)

    root_ca = ""

    def require(self, resource: Resource, verb: str) -> None:
        """405 unless the resource supports the verb."""
        if verb not in resource.verbs:
            raise method_not_allowed()


def _keep_pod(obj: Json, old: Json) -> None:
    """A pod's defaulted and admitted fields stay when a client's update leaves them out."""
    spec, was = obj["spec"], old.get("spec") or {}
    for name in ("serviceAccountName", "serviceAccount", "priority", "preemptionPolicy", "nodeName"):
        if name not in spec and name in was:
            spec[name] = was[name]
    if "tolerations" not in spec and "tolerations" in was:
        spec["tolerations"] = was["tolerations"]


def _bare(obj: Json) -> Json:
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**{k: v for k, v in obj.items() if k not in ("metadata", "apiVersion", "kind")}, "metadata": meta}


def _preconditions(resource: Resource, entry: Entry, wanted: Json) -> None:
    meta = entry.obj["metadata"]
    if wanted.get("uid") and wanted["uid"] != meta.get("uid"):
        why = f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({meta.get('uid')}). "
        why += "The object might have been deleted and then recreated"
        raise conflict(resource.plural, resource.group, meta["name"], why)
    if wanted.get("resourceVersion") and wanted["resourceVersion"] != str(entry.rv):
        why = (
            f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match the ResourceVersion "
            f"in record ({entry.rv}). The object might have been modified"
        )
        raise conflict(resource.plural, resource.group, meta["name"], why)


def _strings(values: list[str]) -> str:
    return "[]string{" + ", ".join(json.dumps(v) for v in values) + "}"


def _brief(body: Json) -> str:
    text = encode(body).decode()
    return text if len(text) < 2000 else text[:2000] + "…"


def _name(body: Json) -> str:
    meta = body.get("metadata")
    return str(meta.get("name", "")) if isinstance(meta, dict) else ""
