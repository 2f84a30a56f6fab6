"""The API apart from HTTP: authorize, admit, read and write objects in etcd."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from .etcd import Kept
from .objects import Object, Target, apply, merge, only_status, parse_path, without_status
from .rules import RBAC, Request, User, bound_node, forbidden_changes, forbidden_eviction, is_allowed

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
APPLY = "application/apply-patch+yaml"
MERGES = ("application/strategic-merge-patch+json", "application/merge-patch+json")
RBAC_RESOURCES = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
EVICTION = "pods/eviction"
OF_A_NODE = ("pods", "spec.nodeName")
TRIES = 5  # of a patch that somebody else got in the way of


class Store(Protocol):
    def get(self, key: str) -> Kept | None: ...
    def below(self, prefix: str) -> list[Kept]: ...
    def put(self, key: str, value: Object, *, revision: int) -> int: ...
    def delete(self, key: str) -> None: ...


class Refusal(Exception):
    """A Status that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    content_type: str = ""
    body: Any = None  # decoded; None without one


class Api:
    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, user: User, asked: Asked) -> tuple[int, Object]:
        """HTTP status and object. Raises Refusal."""
        target = parse_path(asked.path)
        if target is None:
            raise Refusal(404, "NotFound", f"the server could not find {asked.path} (the double has no discovery)")
        request = _request(target, asked)
        if not is_allowed(user, request, self._rbac()):
            raise Refusal(403, "Forbidden", _forbidden(user, request))
        if request.verb == "get":
            return 200, self._found(target)
        if request.verb == "list":
            return 200, self._list(target, request.node)
        if request.resource == EVICTION:
            return self._evict(user, target)
        if request.verb == "delete":
            found = self._found(target)
            self._store.delete(target.key())
            return 200, found
        if not isinstance(asked.body, dict):
            raise Refusal(400, "BadRequest", "the body is no object")
        if request.verb == "create":
            return 201, self._create(user, request, target, asked.body)
        return self._change(user, request, target, asked)

    def _create(self, user: User, request: Request, target: Target, body: Object) -> Object:
        name = (body.get("metadata") or {}).get("name", "")
        if not name:
            raise Refusal(422, "Invalid", "metadata.name: Required value (the double has no generateName)")
        _admit(user, request, {}, body)
        made = _new(target, body)
        revision = self._store.put(target.key(name), made, revision=0)
        if not revision:
            raise Refusal(409, "AlreadyExists", f'{target.resource} "{name}" already exists')
        return _at(made, revision)

    def _change(self, user: User, request: Request, target: Target, asked: Asked) -> tuple[int, Object]:
        for _ in range(TRIES):
            kept = self._store.get(target.key())
            old = kept.value if kept else {}
            metadata = asked.body.get("metadata") or {}
            wanted = metadata.get("resourceVersion")
            if kept and wanted and wanted != str(kept.revision):
                raise _conflict(target)
            if metadata.get("uid", "") not in ("", old.get("metadata", {}).get("uid")):
                raise _conflict(target)
            if not kept and asked.content_type != APPLY:
                raise Refusal(404, "NotFound", f'{target.resource} "{target.name}" not found')
            new = _changed(old, target, asked) if kept else _new(target, apply({}, asked.body, _manager(asked)))
            _admit(user, request, old, new)
            new["metadata"].pop("resourceVersion", None)
            if kept and new == old:
                return 200, _at(old, kept.revision)
            revision = self._store.put(target.key(), new, revision=kept.revision if kept else 0)
            if revision:
                return 200 if kept else 201, _at(new, revision)
            if wanted:
                raise _conflict(target)
        raise _conflict(target)

    def _found(self, target: Target) -> Object:
        kept = self._store.get(target.key())
        if kept is None:
            raise Refusal(404, "NotFound", f'{target.resource} "{target.name}" not found')
        return _at(kept.value, kept.revision)

    def _list(self, target: Target, node: str) -> Object:
        kept = self._store.below(target.collection_key)
        items = [_at(one.value, one.revision) for one in kept if not node or bound_node(one.value) == node]
        return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}

    def _evict(self, user: User, target: Target) -> tuple[int, Object]:
        """No budgets: the pod is gone at once."""
        if wrong := forbidden_eviction(user, self._found(target)):
            raise Refusal(403, "Forbidden", f'pods "{target.name}" is forbidden: {wrong}')
        self._store.delete(target.key())
        return 201, {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}

    def _rbac(self) -> list[Object]:
        keys = (Target(RBAC, "v1", resource).collection_key for resource in RBAC_RESOURCES)
        return [kept.value for key in keys for kept in self._store.below(key)]


def _request(target: Target, asked: Asked) -> Request:
    selector, _, node = asked.query.get("fieldSelector", "").partition("=")
    if {"watch", "labelSelector"} & set(asked.query) or (selector and (target.resource, selector) != OF_A_NODE):
        raise Refusal(501, "NotImplemented", f"the double has no watch, and of selectors only {OF_A_NODE}")
    verb = ("get" if target.name else "list") if asked.method == "GET" else VERBS[asked.method]
    resource = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
    if bool(target.name) == (verb in ("create", "list")) and (verb, resource) != ("create", EVICTION):
        raise Refusal(405, "MethodNotAllowed", f"{asked.method} {asked.path}")
    return Request(verb, target.group, resource, target.namespace, target.name, node)


def _changed(old: Object, target: Target, asked: Asked) -> Object:
    if asked.method == "PUT":
        kept = {key: old["metadata"][key] for key in ("uid", "creationTimestamp")}
        new = {**asked.body, "metadata": {**asked.body["metadata"], **kept}}
    elif asked.content_type == APPLY:
        new = apply(old, asked.body, _manager(asked))
    elif asked.content_type in MERGES:
        new = merge(old, asked.body)
    else:
        raise Refusal(415, "UnsupportedMediaType", f"{asked.content_type}; the double knows {APPLY}, {MERGES}")
    return only_status(old, new) if target.subresource == "status" else without_status(old, new)


def _manager(asked: Asked) -> str:
    manager = asked.query.get("fieldManager", "")
    if not manager:
        raise Refusal(422, "Invalid", "fieldManager: Required value: is required for apply patch")
    return manager


def _admit(user: User, request: Request, before: Object, after: Object) -> None:
    if wrong := forbidden_changes(user, request, before, after):
        raise Refusal(403, "Forbidden", f'{request.resource} "{request.name}" is forbidden: {wrong}')


def _new(target: Target, body: Object) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {"namespace": target.namespace} if target.namespace else {}
    metadata = {**body["metadata"], **given, "uid": str(uuid.uuid4()), "creationTimestamp": now}
    return {**body, "apiVersion": target.api_version, "metadata": metadata}


def _at(value: Object, revision: int) -> Object:
    return {**value, "metadata": {**value["metadata"], "resourceVersion": str(revision)}}


def _conflict(target: Target) -> Refusal:
    return Refusal(409, "Conflict", f'Operation cannot be fulfilled on {target.resource} "{target.name}"')


def _forbidden(user: User, request: Request) -> str:
    name = f' "{request.name}"' if request.name else ""
    where = f' in the namespace "{request.namespace}"' if request.namespace else " at the cluster scope"
    return (
        f'{request.resource}{name} is forbidden: User "{user.name}" cannot {request.verb} resource '
        f'"{request.resource}" in API group "{request.group}"{where}'
    )
