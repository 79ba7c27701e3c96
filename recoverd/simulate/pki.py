"""Certificates of the model: who signed what, and until when. What kubeadm makes on a control
plane, without a single real key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from recoverd.model.memory import ACCOUNTS_KEY, KUBERNETES
from recoverd.model.observation import CertificateView, PkiView
from recoverd.model.pki_operations import KUBELET_PKI
from recoverd.simulate.clock import moment

YEAR = 365 * 86400.0
AGE = 65 * 86400.0
"""How old everything is when the story begins."""
CA, ETCD_CA, PROXY_CA = (
    f"{KUBERNETES}/pki/ca.crt",
    f"{KUBERNETES}/pki/etcd/ca.crt",
    f"{KUBERNETES}/pki/front-proxy-ca.crt",
)
AUTHORITIES = (CA, ETCD_CA, PROXY_CA)
SERVING, ETCD_SERVING = f"{KUBERNETES}/pki/apiserver.crt", f"{KUBERNETES}/pki/etcd/server.crt"
ETCD_PEER = f"{KUBERNETES}/pki/etcd/peer.crt"
ETCD_CLIENTS = (f"{KUBERNETES}/pki/etcd/healthcheck-client.crt", f"{KUBERNETES}/pki/apiserver-etcd-client.crt")
OF_ETCD = (ETCD_SERVING, *ETCD_CLIENTS)
KUBELET_CLIENT = f"{KUBELET_PKI}/kubelet-client-current.pem"
KUBECONFIG = f"{KUBERNETES}/kubelet.conf"
SIGNED: Mapping[str, str] = {
    SERVING: CA,
    f"{KUBERNETES}/pki/apiserver-kubelet-client.crt": CA,
    f"{KUBERNETES}/pki/front-proxy-client.crt": PROXY_CA,
    ETCD_SERVING: ETCD_CA,
    ETCD_PEER: ETCD_CA,
    **dict.fromkeys(ETCD_CLIENTS, ETCD_CA),
    **{f"{KUBERNETES}/{name}.conf": CA for name in ("admin", "controller-manager", "scheduler")},
    KUBELET_CLIENT: CA,
}
"""Each leaf, and the file of the CA that signs it."""


class Paper(NamedTuple):
    """One certificate. Of a CA, `key` is its own key; of a leaf, that of the CA that signed it."""

    key: str
    begins: float
    ends: float


Papers = dict[str, Paper]


def fresh() -> Papers:
    """The CAs are those of the whole cluster, so their keys are the same on every machine."""
    papers = {ca: Paper(_first_key(ca), -AGE, 9 * YEAR) for ca in AUTHORITIES}
    return papers | {leaf: Paper(papers[ca].key, -AGE, YEAR - AGE) for leaf, ca in SIGNED.items()}


def of_plane() -> Papers:
    """What a control plane has whose etcd is on machines of its own: of etcd, what its API server is let in with."""
    return {path: paper for path, paper in fresh().items() if path not in (*OF_ETCD[:2], ETCD_PEER)}


def of_etcd() -> Papers:
    """What such a machine has."""
    return {path: paper for path, paper in fresh().items() if path in (ETCD_CA, ETCD_PEER, *OF_ETCD)}


def of_worker() -> Papers:
    """What a worker has of them: the CA's certificate, without its key, and kubelet's own."""
    return {path: paper for path, paper in fresh().items() if path in (CA, KUBELET_CLIENT)}


def _first_key(ca: str) -> str:
    return f"{ca} of kubeadm init"


FIRST_CA = _first_key(CA)


def renewed(papers: Papers, now: float, *, kubelet: bool = False) -> Papers:
    """As `kubeadm certs renew all` leaves it; `kubelet`: its client certificate alone."""
    signs = [leaf for leaf, ca in SIGNED.items() if leaf in papers and _held(papers, ca)]
    leaves = [KUBELET_CLIENT] if kubelet else [leaf for leaf in signs if leaf != KUBELET_CLIENT]
    return papers | {leaf: Paper(papers[SIGNED[leaf]].key, now, now + YEAR) for leaf in leaves}


def _held(papers: Papers, authority: str) -> bool:
    """Whether the CA's key is on a control plane of these: etcd's is not where etcd is on machines of its own."""
    return authority != ETCD_CA or ETCD_SERVING in papers


def remade(papers: Papers, now: float, *authorities: str) -> Papers:
    """These CAs made anew by hand, and then every leaf but kubelet's."""
    made = [ca for ca in authorities if _held(papers, ca)]
    new = papers | {ca: Paper(f"{ca} of {moment(now):%H:%M:%S}", now, now + 10 * YEAR) for ca in made}
    return renewed(new, now)


def dated(papers: Papers, ends: float) -> Papers:
    """Every leaf over at that moment."""
    return papers | {leaf: papers[leaf]._replace(ends=ends) for leaf in SIGNED if leaf in papers}


def client_over(papers: Papers, now: float) -> bool:
    """Whether kubelet's client certificate is over."""
    return KUBELET_CLIENT in papers and papers[KUBELET_CLIENT].ends < now


def trouble(papers: Papers, now: float) -> str:
    """Why the bastion and everybody who was given the CA of `kubeadm init` do not accept
    the API server; "" when they do.
    """
    if SERVING not in papers:
        return ""
    if papers[SERVING].ends < now:
        return "certificate has expired"
    if papers[SERVING].key != FIRST_CA:
        return "unable to get local issuer certificate"
    return ""


def etcd_trouble(papers: Papers, now: float) -> str:
    """Why etcd and those who ask it do not accept each other; "" when they do."""
    for path in OF_ETCD if SERVING in papers or ETCD_SERVING in papers else ():
        if path not in papers:
            continue
        paper = papers[path]
        if paper.ends < now:
            return f"{path} has expired"
        if paper.key != papers[ETCD_CA].key:
            return f"{path} is signed by another CA"
    return ""


def views(
    papers: Papers, name: str = "model", *, kubeconfig: bool = True
) -> tuple[tuple[CertificateView, ...], PkiView | None]:
    """As a look over SSH finds them on the machine of this name. `kubeconfig`: kubelet.conf is there."""
    return _views_of(tuple(papers.items()), name, kubeconfig, moment(0)) if papers else ((), None)


@lru_cache(maxsize=256)  # a story has few, and every sweep looks at those of every machine
def _views_of(
    items: tuple[tuple[str, Paper], ...], name: str, kubeconfig: bool, epoch: datetime
) -> tuple[tuple[CertificateView, ...], PkiView | None]:
    """`epoch`: the clock by which their dates are told."""
    papers = dict(items)
    authorities = {ca: (_digest(papers[ca].key),) for ca in AUTHORITIES if ca in papers}
    keys: dict[str, str] = {}
    if SERVING in papers:
        keys = {f"{ca.removesuffix('.crt')}.key": _digest(papers[ca].key) for ca in AUTHORITIES if _held(papers, ca)}
        keys[ACCOUNTS_KEY] = _digest(ACCOUNTS_KEY)
    return tuple(_views(papers, name, epoch)), PkiView(
        authorities, keys, (*(p for p in papers if p.startswith(KUBERNETES)), *([KUBECONFIG] * kubeconfig))
    )


def _views(papers: Papers, name: str, epoch: datetime) -> Iterator[CertificateView]:
    for path, paper in papers.items():
        is_ca, authority = path in AUTHORITIES, SIGNED.get(path, "")
        yield CertificateView(
            path=path,
            subject=f"CN=system:node:{name},O=system:nodes"
            if path == KUBELET_CLIENT
            else f"CN={path.rsplit('/', 1)[-1]}",
            issuer=f"CN={(authority or path).rsplit('/', 1)[-1]}",
            not_before=epoch + timedelta(seconds=paper.begins),
            not_after=epoch + timedelta(seconds=paper.ends),
            is_ca=is_ca,
            sha256=_digest(f"{path} {paper}"),
            key=_digest(paper.key) if is_ca else "",
            authority=authority,
            signed=None if is_ca else paper.key == papers[authority].key,
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
