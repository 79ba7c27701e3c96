"""etcd on machines of its own, as the lab's profile `external-etcd` has it: a unit of systemd, with certificates that
kubeadm made. They are no nodes, and recoverd does not log in to them: what it sees of their etcd, it sees from the
control planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recoverd.diagnose.outside import Ways
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.places import OutsideEtcd, Socket
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.look import unreachable, unreadable
from recoverd.simulate.pki import ETCD_CLIENTS, etcd_trouble


def look(cluster: ModelCluster, ways: Ways) -> Mapping[str, EtcdView | Unseen]:
    """Each server's own words, by way of the control plane whose turn it is."""
    if (way := ways.now) is None:
        return {}
    plane, etcd = way
    return ways.took({str(server): _server(cluster, plane, server, etcd) for server in etcd.servers})


def _server(cluster: ModelCluster, plane: str, at: Socket, etcd: OutsideEtcd) -> EtcdView | Unseen:
    """As a tunnel through the control plane's sshd shows it, with the certificate of its API server."""
    where, asks = f"etcd at {at}, asked from {plane},", cluster.machines[plane]
    if (unseen := unreachable(cluster, asks)) is not None:
        return Unseen(UnseenKind.NOT_TRIED, f"{where} cannot be asked: {unseen.reason}")
    if ETCD_CLIENTS[1] not in asks.papers:
        return Unseen(UnseenKind.NOT_TRIED, f"{where} cannot be asked: {unreadable(plane, etcd.files[1])}")
    machine = next((m for m in cluster.apart.values() if m.address == at.host), None)
    if machine is None or not machine.up(cluster.now) or not cluster.network.routed(plane, machine.name):
        return Unseen(UnseenKind.TIMEOUT, f"{where} did not answer within 3 s")
    view = cluster.etcd.view(machine.name)
    if isinstance(view, Unseen) and view.kind is UnseenKind.REFUSED:
        return Unseen(view.kind, f"{where} cannot be asked: {plane} gets no connection to {at}: Connection refused")
    if why := etcd_trouble(machine.papers, cluster.now):
        return Unseen(UnseenKind.UNTRUSTED, f"{where} has a certificate that does not verify: {why}")
    if why := etcd_trouble(asks.papers, cluster.now):
        said = f"did not accept the client certificate {ETCD_CLIENTS[1]} of {plane}, or TLS failed otherwise: {why}"
        return Unseen(UnseenKind.DENIED, f"{where} {said}")
    if isinstance(view, Unseen):
        return Unseen(view.kind, f"{where} did not answer within 3 s")
    # where its metrics are, no manifest says
    return replace(view, quota=0, fsync=None, commit=None, prefixes=())
