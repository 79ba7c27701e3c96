"""The certificates and kubeconfigs that kubeadm makes, and which CA signs each (kubeadm's page on certificates). Others
in the same place are no business of recoverd's: they are shown, and nothing is concluded from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

AUTHORITIES = ("pki/ca.crt", "pki/etcd/ca.crt", "pki/front-proxy-ca.crt")
"""In /etc/kubernetes."""
SIGNED_BY: Mapping[str, str] = {
    "pki/apiserver.crt": "pki/ca.crt",
    "pki/apiserver-kubelet-client.crt": "pki/ca.crt",
    "pki/apiserver-etcd-client.crt": "pki/etcd/ca.crt",
    "pki/front-proxy-client.crt": "pki/front-proxy-ca.crt",
    "pki/etcd/server.crt": "pki/etcd/ca.crt",
    "pki/etcd/peer.crt": "pki/etcd/ca.crt",
    "pki/etcd/healthcheck-client.crt": "pki/etcd/ca.crt",
    "admin.conf": "pki/ca.crt",
    "super-admin.conf": "pki/ca.crt",
    "controller-manager.conf": "pki/ca.crt",
    "scheduler.conf": "pki/ca.crt",
    "kubelet.conf": "pki/ca.crt",
    "pki/kubelet-client-current.pem": "pki/ca.crt",
}
"""Leaves; all in /etc/kubernetes but the last, which is kubelet's own and in /var/lib/kubelet."""


@lru_cache(maxsize=1024)  # every sweep asks it of every certificate, and machines have them at the same few dozen paths
def authority_of(path: str) -> str:
    """The CA, relative to /etc/kubernetes, that must have signed this file's certificate; "" for one that
    kubeadm does not make, and for a CA.
    """
    return next((authority for name, authority in SIGNED_BY.items() if path.endswith(f"/{name}")), "")


@lru_cache(maxsize=1024)
def made_by_kubeadm(path: str) -> bool:
    return bool(authority_of(path)) or any(path.endswith(f"/{name}") for name in AUTHORITIES)
