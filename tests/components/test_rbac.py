"""config/rbac.yaml against a real API server: with it recoverd sees what it has to, without it
nothing, and it can change nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig, SshSettings
from recoverd.model.observation import ApiView, EndpointHealth, ObjectsView, Unseen, UnseenKind
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe.aggregated import AggregateWatch
from recoverd.observe.api import ApiCollector, api_client
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.lists import Answered, Lists, Read
from recoverd.observe.services import EVERYWHERE, fenced
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
    assert collector.listed
    assert await AggregateWatch(5.0).look(collector.listed.client) == (), "all that it lists are its own"
    for method, path in (
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/kube-system/configmaps"),
        ("GET", "/api/v1/nodes/cp1/proxy/pods"),
        ("DELETE", "/api/v1/nodes/cp1"),
        ("DELETE", "/api/v1/namespaces/kube-system/pods/etcd-cp1"),
    ):
        assert await api.ask(method, path, admin=False) == 403, (method, path)


CRD = {
    "metadata": {"name": "globalnetworkpolicies.crd.projectcalico.org"},
    "spec": {
        "group": "crd.projectcalico.org",
        "scope": "Cluster",
        "names": {"kind": "GlobalNetworkPolicy", "plural": "globalnetworkpolicies"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
DENY = {
    "apiVersion": "crd.projectcalico.org/v1",
    "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "default-deny"},
    "spec": {"selector": "all()", "types": ["Ingress", "Egress"]},
}


async def test_policies_of_calico_are_read_and_until_they_are_nothing_is_known_of_what_is_forbidden(
    api: ApiServer, tmp_path: Path
) -> None:
    """Of the kinds that a cluster has not, nothing is asked."""
    access = await read_access(api.kubeconfig(tmp_path / "kubeconfig"))
    client = api_client(access, access.server)
    lists = Lists(5.0)

    async def policies() -> Read:
        lists._kept.clear()  # a denied list is asked for again a minute later
        lists._groups = (0.0, None)
        return await lists.policies(client)

    async def until(wanted: Callable[[Read], bool]) -> None:
        async def once() -> None:
            assert wanted(read := await policies()), read

        errors = retry_if_exception_type(AssertionError)
        await AsyncRetrying(retry=errors, wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True)(once)

    for document in yaml.safe_load_all(RBAC.read_text()):
        assert await api.ask("POST", COLLECTIONS[document["kind"]], admin=True, body=document) == 201
    await until(lambda r: isinstance(r, Answered) and fenced(r.body) == {})
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert await api.ask("POST", crds, admin=True, body=CRD) == 201
    kind = "/apis/crd.projectcalico.org/v1/globalnetworkpolicies"

    async def made() -> None:
        assert await api.ask("POST", kind, admin=True, body=DENY) in (201, 409)

    errors = retry_if_exception_type(AssertionError)
    await AsyncRetrying(retry=errors, wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True)(made)
    await until(lambda r: isinstance(r, Answered) and fenced(r.body) == {EVERYWHERE: [None]})
    assert await api.ask("DELETE", f"{COLLECTIONS['ClusterRoleBinding']}/recoverd", admin=True) == 200
    await until(lambda r: isinstance(r, Unseen) and r.kind is UnseenKind.DENIED)
    await client.close()
