"""A long list decoded as it comes in, from a real kube-apiserver: cut into small pieces it says what it says whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recoverd.observe import pieces as cutting
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.kubelet import ListedPod, from_object
from recoverd.observe.lists import Answered, Lists
from recoverd.observe.objects import NODE, ROW, TABLE, PodBook, nodes_of
from recoverd.observe.rest import list_all, request
from tests.components.apiserver import ApiServer

PODS, NODES = 23, 7
TEMPLATE = '{"cells":["x","1/1"],"metadata":{"name":"not-a-row"}}'
"""In an annotation, where what rows and nodes begin with stands as text."""


def pod(number: int) -> dict[str, Any]:
    meta = {
        "name": f"p{number}",
        "namespace": "default",
        "labels": {"app": f"a{number % 3}"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": TEMPLATE * 20},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "ds"}],
    }
    container = {"name": "c", "image": "registry.example/app:v1"}
    spec = {"containers": [container], "nodeName": f"n{number % NODES}", "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def node(number: int) -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if number == 0 else {}
    meta = {"name": f"n{number}", "labels": labels, "annotations": {"template": '{"metadata":{"name":"x"}}'}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"unschedulable": number == 1}}


@pytest.mark.parametrize("size", [500, 3000, 1 << 20])
async def test_it_says_the_same_in_pieces(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", admin=True, body=account) in (201, 409)
    for number in range(NODES):
        assert await api.ask("POST", "/api/v1/nodes", admin=True, body=node(number)) == 201
    for number in range(PODS):
        assert await api.ask("POST", "/api/v1/namespaces/default/pods", admin=True, body=pod(number)) == 201
    (tmp_path / "kubeconfig").write_text(api.admin_kubeconfig())
    (tmp_path / "kubeconfig").chmod(0o600)
    access = await read_access(tmp_path / "kubeconfig")
    client = api_client(access, access.server)
    count, cut = 0, cutting.pieces

    async def counted(response: Any, mark: bytes) -> Any:
        nonlocal count
        async for document in cut(response, mark):
            count += 1
            yield document

    monkeypatch.setattr(cutting, "PIECE", size)
    try:
        nodes, made = await nodes_of(counted(await list_all(client, "nodes"), NODE))
        book = PodBook()

        async def pods() -> tuple[ListedPod, ...]:
            return await book.read(counted(await request(client, "/api/v1/pods", accept=TABLE), ROW))

        table, again = await pods(), await pods()
        whole = await Lists(5.0)._read("pods", lambda: list_all(client, "pods"))
    finally:
        await client.close()  # type: ignore[no-untyped-call]
    assert [n.name for n in nodes] == [f"n{k}" for k in range(NODES)] == [c.name for c in made]
    assert [n.control_plane for n in nodes] == [True] + [False] * (NODES - 1)
    assert [n.unschedulable for n in nodes] == [k == 1 for k in range(NODES)]
    assert isinstance(whole, Answered)

    def told(pod: ListedPod) -> tuple[Any, ...]:
        return pod.uid, pod.name, pod.node, pod.created, pod.owner, dict(pod.labels), pod.deleting

    assert [told(p) for p in table] == [told(from_object(i)) for i in whole.body["items"]] and len(table) == PODS
    assert all(one is other for one, other in zip(table, again, strict=True)), "what is the same is not made anew"
    assert count == 3 if size == 1 << 20 else count > 3
