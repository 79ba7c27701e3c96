"""config/rbac.yaml against a real API server: with it recoverd sees what it has to, without it
nothing, and it can change nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig, SshSettings
from recoverd.model.observation import ApiView, EndpointHealth, ObjectsView, Unseen, UnseenKind
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe.api import ApiCollector
from tests.components.apiserver import ApiServer

RBAC = Path(__file__).parents[2] / "config/rbac.yaml"
COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "/api/v1/namespaces/kube-system/serviceaccounts",
}


@pytest.fixture
async def collector(api: ApiServer, tmp_path: Path) -> AsyncIterator[ApiCollector]:
    plane = HostSettings("cp1", "127.0.0.1")
    ssh = SshSettings("root", tmp_path / "key", tmp_path / "known_hosts")
    pool = HostPool(ssh, [plane])
    made = ApiCollector(
        ClusterConfig(ClusterSettings("prod", (plane,)), 5.0, api.kubeconfig(tmp_path / "kubeconfig"), ssh), pool
    )
    yield made
    await made.close()
    await pool.close()


async def ready(collector: ApiCollector) -> ApiView:
    async def once() -> ApiView:
        view = await collector.observe()
        assert view.vip.health is EndpointHealth.READY, view.vip
        return view

    errors = retry_if_exception_type(AssertionError)
    view: ApiView = await AsyncRetrying(retry=errors, wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True)(
        once
    )
    return view


async def test_it_is_enough_and_it_is_needed_and_it_is_no_more(api: ApiServer, collector: ApiCollector) -> None:
    before = (await ready(collector)).objects
    assert isinstance(before, Unseen) and before.kind is UnseenKind.DENIED, before

    for document in yaml.safe_load_all(RBAC.read_text()):
        status = await api.ask("POST", COLLECTIONS[document["kind"]], admin=True, body=document)
        assert status == 201, document["kind"]

    async def seen() -> None:
        objects = (await collector.observe()).objects
        assert isinstance(objects, ObjectsView), objects

    errors = retry_if_exception_type(AssertionError)
    await AsyncRetrying(retry=errors, wait=wait_fixed(0.2), stop=stop_after_delay(20), reraise=True)(seen)
    for method, path in (
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/kube-system/configmaps"),
        ("GET", "/api/v1/nodes/cp1/proxy/pods"),
        ("DELETE", "/api/v1/nodes/cp1"),
        ("DELETE", "/api/v1/namespaces/kube-system/pods/etcd-cp1"),
    ):
        assert await api.ask(method, path, admin=False) == 403, (method, path)
