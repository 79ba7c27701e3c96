"""Applies shipped permissions to a cluster, where an operator has said so, as `kubectl apply --server-side` would."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.rest import request

APPLY = "application/apply-patch+yaml"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PATHS = {
    "ClusterRole": f"{RBAC}/clusterroles/{{name}}",
    "ClusterRoleBinding": f"{RBAC}/clusterrolebindings/{{name}}",
    "Role": f"{RBAC}/namespaces/{{namespace}}/roles/{{name}}",
    "RoleBinding": f"{RBAC}/namespaces/{{namespace}}/rolebindings/{{name}}",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
}
"""What the shipped files are made of."""


class ApplyError(Exception):
    """Something was not applied; the text says what, and what stands by then."""


async def apply(kubeconfig: Path, text: str) -> list[str]:
    """Make each object of the file what the file says, and name them. Raises `ApplyError`; what was applied before
    stays, and the same may be done again.
    """
    access = await read_access(kubeconfig)
    done: list[str] = []
    async with api_client(access, access.server) as client:
        for document in filter(None, yaml.safe_load_all(text)):
            what = f"{document['kind']} {document['metadata']['name']}"
            try:
                await _apply(client, document)
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                raise ApplyError(f"{what} was not applied: {error}{_standing(done)}") from error
            done.append(what)
    return done


async def _apply(client: Any, document: dict[str, Any]) -> None:
    meta = document["metadata"]
    names = {"name": meta["name"], **({"namespace": meta["namespace"]} if "namespace" in meta else {})}
    answer = await request(
        client,
        PATHS[document["kind"]],
        names,
        method="PATCH",
        query={"fieldManager": "recoverd-init"},
        body=document,  # as JSON, which is YAML
        content_type=APPLY,
    )
    said = await answer.read()
    if answer.status not in (200, 201):
        hint = "; kubectl apply -f says which change that would undo" if answer.status == 409 else ""
        raise ValueError(f"HTTP {answer.status}: {_message(said)}{hint}")


def _message(said: bytes) -> str:
    try:
        return " ".join(str(json.loads(said)["message"]).split())
    except (ValueError, KeyError, TypeError):
        return repr(said[:200])


def _standing(done: Iterable[str]) -> str:
    return f" ({', '.join(done)} stand)" if done else ""
