"""What happens to certificates, and what people do about them. Each is a short function on the model cluster."""

from __future__ import annotations

from recoverd.simulate import pki
from recoverd.simulate.cluster import ModelCluster


def expire_certificates(c: ModelCluster, *names: str) -> None:
    """Every leaf certificate and kubeconfig on these control planes is over; the CAs are not."""
    for name in names:
        c.at(name).papers = pki.dated(c.at(name).papers, c.now - 60)


def expire_soon(c: ModelCluster, name: str, days: str = "10") -> None:
    """They are over in so many days."""
    c.at(name).papers = pki.dated(c.at(name).papers, c.now + float(days) * 86400)


def expire_client_certificate(c: ModelCluster, *names: str) -> None:
    """kubelet's client certificate on these workers is over, as after a time in which they were off: the API server
    answers `Unauthorized`, and a kubelet that starts anew ends at once. Control planes are passed over.
    """
    for name in names:
        if not c.machines[name].control_plane:
            c.machines[name].papers = pki.dated(c.machines[name].papers, c.now - 60)


def remake_certificates(c: ModelCluster, *names: str) -> None:
    """Leaf certificates, kubeconfigs and the front-proxy CA moved away and made anew by hand, as
    in the incident; the CA is kept.
    """
    for name in names:
        c.machines[name].papers = pki.remade(c.machines[name].papers, c.now, pki.PROXY_CA)


def remake_pki(c: ModelCluster, *names: str) -> None:
    """Everything made anew by hand, the CAs too: whoever trusts the old ones refuses the API server."""
    for name in names:
        c.machines[name].papers = pki.remade(c.machines[name].papers, c.now, *pki.AUTHORITIES)


def sign_etcd_client(c: ModelCluster, *names: str) -> None:
    """Whoever holds the CA of an etcd elsewhere signs a new client certificate for these API servers."""
    for name in names:
        machine = c.machines[name]
        paper = pki.Paper(machine.papers[pki.ETCD_CA].key, c.now, c.now + pki.YEAR)
        machine.papers = machine.papers | {pki.ETCD_CLIENTS[1]: paper}


def lose_kubeconfig(c: ModelCluster, *names: str) -> None:
    """`rm /etc/kubernetes/kubelet.conf`, or moved away and not made anew: the kubelet that runs has read it."""
    for name in names:
        c.machines[name].files.pop(pki.KUBECONFIG, None)
