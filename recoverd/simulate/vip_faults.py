"""What holds the API server's address as a static pod of the control planes, and what becomes of it: as `faults`, which
names them. The words for manifests say that its own goes, is cut short or moved aside.
"""

from __future__ import annotations

from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.network import HOLDER
from recoverd.simulate.texts import path_of

MANIFEST = """apiVersion: v1
kind: Pod
metadata:
  creationTimestamp: null
  name: kube-vip
  namespace: kube-system
spec:
  containers:
  - command:
    - /kube-vip
    - manager
    env:
    - name: vip_arp
      value: "true"
    - name: address
      value: 10.99.1.10
    image: ghcr.io/kube-vip/kube-vip:v0.6.4
    name: kube-vip
  hostNetwork: true
status: {}
"""
"""As `kube-vip manifest pod` prints it, in short."""


def serve_vip(c: ModelCluster, *names: str) -> None:
    """kube-vip's manifest is put there on these control planes: the API server's address answers where one runs."""
    for name in names:
        c.machines[name].files[path_of(HOLDER)] = MANIFEST
    c.network.held |= set(names)


def empty_manifest(c: ModelCluster, name: str, component: str) -> None:
    """Nothing is left in a static pod's manifest, as by `>` or a full disk."""
    c.machines[name].files[path_of(component)] = ""


def balance_elsewhere(c: ModelCluster) -> None:
    """The API server's address moves to a load balancer, by a person: kube-vip is not needed any more."""
    c.network.balanced = True
