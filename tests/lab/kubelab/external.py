"""etcd on machines of its own: Debian's etcd as a service there, with certificates that kubeadm makes, as its guide to
external etcd says (https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/setup-ha-etcd-with-kubeadm/).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .images import VERSION
from .node import Node

NAME, NUMBER = "etcd", 31
"""What the machines' names begin with, and the first one's number."""
PKI = "/etc/kubernetes/pki"
ITS_OWN = (f"{PKI}/etcd/ca.crt", f"{PKI}/apiserver-etcd-client.crt", f"{PKI}/apiserver-etcd-client.key")
"""What a control plane is let in with."""
AUTHORITY = (f"{PKI}/etcd/ca.crt", f"{PKI}/etcd/ca.key")
"""What the first machine has made, and the others sign with as well."""
CERTIFICATES = """apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v{version}
etcd: {{local: {{serverCertSANs: [{address}], peerCertSANs: [{address}]}}}}
"""
SECTION = """etcd:
  external:
    endpoints: [{endpoints}]
    caFile: {ca}
    certFile: {certificate}
    keyFile: {key}
"""
SETTINGS = """ETCD_NAME={name}
ETCD_DATA_DIR=/var/lib/etcd/{name}
ETCD_LISTEN_CLIENT_URLS=https://{address}:2379,https://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=https://{address}:2379
ETCD_LISTEN_PEER_URLS=https://{address}:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{address}:2380
ETCD_INITIAL_CLUSTER={peers}
ETCD_TRUSTED_CA_FILE={pki}/etcd/ca.crt
ETCD_CERT_FILE={pki}/etcd/server.crt
ETCD_KEY_FILE={pki}/etcd/server.key
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE={pki}/etcd/ca.crt
ETCD_PEER_CERT_FILE={pki}/etcd/peer.crt
ETCD_PEER_KEY_FILE={pki}/etcd/peer.key
ETCD_PEER_CLIENT_CERT_AUTH=true
"""


def machines(cluster: int, count: int) -> list[Node]:
    """Those that etcd has in a cluster of a profile with so many (`etcd_apart`)."""
    return [Node(cluster, f"{NAME}{i + 1}", NUMBER + i) for i in range(count)]


def section(cluster: int, count: int) -> str:
    """What kubeadm's ClusterConfiguration says of them."""
    ca, certificate, key = ITS_OWN
    endpoints = ", ".join(f"https://{m.address}:2379" for m in machines(cluster, count))
    return SECTION.format(endpoints=endpoints, ca=ca, certificate=certificate, key=key)


def start(members: Sequence[Node], planes: Sequence[Node]) -> None:
    """Make their certificates, start them, and give the control planes theirs."""
    peers = ",".join(f"{m.name}=https://{m.address}:2380" for m in members)
    first, *others = members
    _certify(first, "etcd-ca", "apiserver-etcd-client")
    for plane in planes:
        _give(first, plane, ITS_OWN)
    for node in others:
        _give(first, node, AUTHORITY)
    for node in members:
        _certify(node, "etcd-server", "etcd-peer")
        settings = SETTINGS.format(name=node.name, address=node.address, peers=peers, pki=PKI)
        # one alone is not started before it has a leader
        node.sh(
            f"systemctl disable -q --now kubelet; cat >/etc/default/etcd <<'E'\n{settings}E\n"
            f"chown -R etcd: {PKI}/etcd; chmod 755 {PKI} /etc/kubernetes; "
            "systemctl enable -q etcd; systemctl start --no-block etcd"
        )
    for node in members:
        node.sh("systemctl start etcd")


def _certify(node: Node, *names: str) -> None:
    config = CERTIFICATES.format(version=VERSION, address=node.address)
    phases = "; ".join(f"kubeadm init phase certs {name} --config /root/etcd.yaml >/dev/null" for name in names)
    node.sh(f"cat >/root/etcd.yaml <<'E'\n{config}E\n{phases}")


def _give(source: Node, node: Node, paths: Sequence[str]) -> None:
    """Copy files from one machine to another."""
    for path in paths:
        held = (source.dir / "root" / path.lstrip("/")).read_bytes().decode()
        node.sh(f"mkdir -p {Path(path).parent}; umask 077; cat >{path}", input=held, stdin=None)
