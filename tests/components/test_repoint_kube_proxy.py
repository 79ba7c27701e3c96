"""kube-proxy's ConfigMap on a real API server: its server changed and put back, and nobody's change undone."""

from __future__ import annotations

import json

import pytest

from recoverd.act.kube import Kube
from recoverd.act.proxy import repoint
from recoverd.model.proxy_operations import RepointProxy

from .apiserver import ApiServer
from .test_controllers import Kubectl, kubectl
from .test_cordon import kube

__all__ = ["kube", "kubectl"]
PATH = "/api/v1/namespaces/kube-system/configmaps"
# as kubeadm 1.20 writes it
CONFIG = """apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    server: https://10.99.1.9:6443
  name: default
users:
- name: default
  user:
    tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
"""
WAS, SERVER = "10.99.1.9:6443", "k8s-api:6443"


async def made(api: ApiServer, **metadata: object) -> None:
    await api.ask("DELETE", f"{PATH}/kube-proxy", admin=True)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-proxy", "labels": {"app": "kube-proxy"}, **metadata},
        "data": {"config.conf": "mode: iptables\n", "kubeconfig.conf": CONFIG},
    }
    assert await api.ask("POST", PATH, admin=True, body=body) == 201


async def test_its_server_alone_is_changed_and_put_back(api: ApiServer, kube: Kube, kubectl: Kubectl) -> None:
    def data() -> dict[str, str]:
        return dict(json.loads(kubectl("get", "--raw", f"{PATH}/kube-proxy"))["data"])

    await made(api)
    there, back = RepointProxy(WAS, SERVER), RepointProxy(SERVER, WAS)
    assert (await repoint(there, kube, ask=True)).undone
    assert (await repoint(there, kube)).ok
    assert data() == {"config.conf": "mode: iptables\n", "kubeconfig.conf": CONFIG.replace(WAS, SERVER)}
    assert (await repoint(there, kube)).already_done and (await repoint(there, kube, ask=True)).ok
    stale = await repoint(RepointProxy("10.99.1.8:6443", WAS), kube)
    assert not stale.ok and stale.untouched and "somebody changed it after the plan" in stale.detail
    assert (await repoint(back, kube)).ok and data()["kubeconfig.conf"] == CONFIG


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"meta.helm.sh/release-name": "addons"}},
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "addons", "uid": "1"}]},
    ],
    ids=["annotation", "label", "owner"],
)
async def test_what_somebody_elses_program_keeps_is_left(
    api: ApiServer, kube: Kube, metadata: dict[str, object]
) -> None:
    await made(api, **metadata)
    left = await repoint(RepointProxy(WAS, SERVER), kube)
    assert not left.ok and left.untouched and "is kept by" in left.detail


async def test_where_there_is_none_it_says_so(api: ApiServer, kube: Kube) -> None:
    await api.ask("DELETE", f"{PATH}/kube-proxy", admin=True)
    none = await repoint(RepointProxy(WAS, SERVER), kube)
    assert not none.ok and none.untouched and "was not changed" in none.detail
