"""etcd on a machine of its own: Debian's etcd as a service there, with certificates that kubeadm makes, as its guide to
external etcd says (https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/setup-ha-etcd-with-kubeadm/).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .images import VERSION
from .node import Node

NAME, NUMBER = "etcd1", 31
PKI = "/etc/kubernetes/pki"
ITS_OWN = (f"{PKI}/etcd/ca.crt", f"{PKI}/apiserver-etcd-client.crt", f"{PKI}/apiserver-etcd-client.key")
"""What a control plane is let in with."""
CERTIFICATES = """apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v{version}
etcd: {{local: {{serverCertSANs: [{address}], peerCertSANs: [{address}]}}}}
"""
SECTION = """etcd:
  external:
    endpoints: [https://{address}:2379]
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
ETCD_INITIAL_CLUSTER={name}=https://{address}:2380
ETCD_TRUSTED_CA_FILE={pki}/etcd/ca.crt
ETCD_CERT_FILE={pki}/etcd/server.crt
ETCD_KEY_FILE={pki}/etcd/server.key
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE={pki}/etcd/ca.crt
ETCD_PEER_CERT_FILE={pki}/etcd/peer.crt
ETCD_PEER_KEY_FILE={pki}/etcd/peer.key
ETCD_PEER_CLIENT_CERT_AUTH=true
"""


def machine(cluster: int) -> Node:
    """The machine that etcd has in a cluster of a profile with `etcd_apart`."""
    return Node(cluster, NAME, NUMBER)


def section(cluster: int) -> str:
    """What kubeadm's ClusterConfiguration says of it."""
    ca, certificate, key = ITS_OWN
    return SECTION.format(address=machine(cluster).address, ca=ca, certificate=certificate, key=key)


def start(node: Node, planes: Sequence[Node]) -> None:
    """Make its certificates, start it, and give the control planes theirs."""
    config = CERTIFICATES.format(version=VERSION, address=node.address)
    settings = SETTINGS.format(name=NAME, address=node.address, pki=PKI)
    phases = "; ".join(
        f"kubeadm init phase certs {name} --config /root/etcd.yaml >/dev/null"
        for name in ("etcd-ca", "etcd-server", "etcd-peer", "apiserver-etcd-client")
    )
    node.sh(
        f"systemctl disable -q --now kubelet; cat >/root/etcd.yaml <<'E'\n{config}E\n{phases}\n"
        f"cat >/etc/default/etcd <<'E'\n{settings}E\n"
        f"chown -R etcd: {PKI}/etcd; chmod 755 {PKI} /etc/kubernetes; systemctl enable -q --now etcd"
    )
    for plane in planes:
        for path in ITS_OWN:
            held = (node.dir / "root" / path.lstrip("/")).read_bytes().decode()
            plane.sh(f"mkdir -p {Path(path).parent}; umask 077; cat >{path}", input=held, stdin=None)
