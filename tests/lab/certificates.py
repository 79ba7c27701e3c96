"""The certificates of a lab cluster's control planes, seen from this machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tests.lab.kubelab.node import Node
from tests.pki import leaves, load, reissue

END = "pkill -x etcd || true; pkill -x kube-apiserver || true"
"""What makes etcd and the API server read their certificates anew; either may be between two starts."""


def kubernetes(node: Node) -> Path:
    """Its /etc/kubernetes."""
    return node.dir / "root/etc/kubernetes"


def serving(node: Node) -> datetime:
    """Until when the API server's certificate is valid."""
    return load((kubernetes(node) / "pki/apiserver.crt").read_bytes()).not_valid_after_utc


def expire(node: Node) -> None:
    """All leaves are over since yesterday, by their own CA; kubelet's client certificate too, with which
    kubelet does not start any more.
    """
    current = node.sh("readlink /var/lib/kubelet/pki/kubelet-client-current.pem", capture_output=True).stdout.strip()
    reissue(kubernetes(node), *leaves(kubernetes(node)), node.dir / "root" / current.lstrip("/"), days=-1)


def authorities(node: Node) -> dict[str, bytes]:
    """The CAs by file name."""
    pki = kubernetes(node) / "pki"
    return {
        name: (pki / name).read_bytes()
        for name in ("ca.crt", "ca.key", "front-proxy-ca.crt", "etcd/ca.crt", "etcd/ca.key")
    }
