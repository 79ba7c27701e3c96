"""What the files config/rbac*.yaml let recoverd's user do, one by one. A test holds them together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from recoverd.model.witness import HOOKS, LED
from recoverd.observe.canary import NAME, NODES
from recoverd.observe.lists import POLICIES

LOOK, CANARY, REPAIR, WEBHOOKS = "rbac.yaml", "rbac-canary.yaml", "rbac-repair.yaml", "rbac-webhooks.yaml"
KINDS = tuple(dict.fromkeys(kind for kinds in POLICIES.values() for kind in kinds))
"""A rule of RBAC gives every kind that it names in every group that it names."""
WORTH = {
    LOOK: "without it recoverd does not see the cluster as it has to",
    CANARY: "without it no write is tried by dry run; apply it, or set canary.every: 0",
    REPAIR: "without it rolling-worker-reboot, repoint-kube-proxy and the restart of a CNI's agent are refused",
    WEBHOOKS: "without it relax-webhook is refused",
}
"""What each file is for."""
CAME_LATER = {
    ("list", "apiservices"): "without it an API behind the API server that is away (metrics.k8s.io) is not told of",
    (
        "patch",
        "leases",
    ): "without it a webhook is not told of that lets no node's lease be renewed, and all else be made",
    ("watch", "pods"): "without it all pods are listed in every sweep, also where there are thousands",
}
"""What LOOK and CANARY give since a release, and what is lacking without each: with older ones all else is seen."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One verb on one kind, or on one path of the API server."""

    verb: str
    resource: str
    """`pods`, `pods/eviction`, or a path as `/readyz`."""
    group: str = ""
    name: str = ""
    """Of the one object that it is about."""
    namespaced: bool = False
    """Only in the canary's namespace."""
    namespace: str = ""
    """Only in this one."""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}{f' {self.name}' if self.name else ''}"

    def review(self, namespace: str) -> dict[str, Any]:
        """The SelfSubjectAccessReview that asks for it; `namespace` is the canary's."""
        if self.resource.startswith("/"):
            spec: dict[str, Any] = {"nonResourceAttributes": {"path": self.resource, "verb": self.verb}}
        else:
            resource, _, sub = self.resource.partition("/")
            asked = {"verb": self.verb, "group": self.group, "resource": resource, "subresource": sub}
            asked |= {"name": self.name, "namespace": namespace if self.namespaced else self.namespace}
            spec = {"resourceAttributes": {key: value for key, value in asked.items() if value}}
        return {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}


def _each(verbs: str, group: str, *resources: str) -> Iterator[Permission]:
    for resource, verb in product(resources, verbs.split()):
        yield Permission(verb, resource, group)


NEEDED: dict[str, tuple[Permission, ...]] = {
    LOOK: (
        *_each("list", "", "nodes", "pods", "services", "endpoints"),
        *_each("watch", "", "pods"),
        *_each("list", "discovery.k8s.io", "endpointslices"),
        *_each("list", "apps", "daemonsets"),
        *_each("list", "networking.k8s.io", "networkpolicies"),
        *(permission for group in POLICIES for permission in _each("list", group, *KINDS)),
        *_each("list", "apiregistration.k8s.io", "apiservices"),
        *(Permission("get", "leases", "coordination.k8s.io", component) for component in LED),
        *_each("get", "", "/livez", "/readyz", "/healthz"),
    ),
    CANARY: (
        Permission("create", "pods", namespaced=True),
        Permission("create", "leases", "coordination.k8s.io", namespaced=True),
        Permission("patch", "leases", "coordination.k8s.io", NAME, namespace=NODES),
    ),
    REPAIR: (
        *_each("get patch", "", "nodes"),
        *_each("create", "", "pods/eviction"),
        *_each("list delete", "", "pods"),
        Permission("get", "configmaps", name="kube-proxy"),
        Permission("update", "configmaps", name="kube-proxy"),
    ),
    WEBHOOKS: tuple(_each("get list update", "admissionregistration.k8s.io", *HOOKS)),
}


def lack(file: str, missing: Collection[Permission]) -> tuple[bool, str]:
    """Whether recoverd is blind without these of the file, and what is not done or seen without them."""
    if file in (LOOK, CANARY) and all((p.verb, p.resource) in CAME_LATER for p in missing):
        return False, "; ".join(dict.fromkeys(CAME_LATER[p.verb, p.resource] for p in missing))
    return file == LOOK, WORTH[file]
