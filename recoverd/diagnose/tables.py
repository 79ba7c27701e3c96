"""Tables of a node's kernel that are full, and packets that its reverse path filter drops. Pure.

A connection for which conntrack has no room is dropped, and so is a packet to a neighbour for whom ARP has none, while
every node is Ready and every agent runs (kubernetes/kubernetes #71261, kubernetes/kops #4533). A reboot empties the
tables, and what has filled them fills them again. The counts are the kernel's own: `drop` of
/proc/net/stat/nf_conntrack (nf_conntrack_core.c: "table full, dropping packet" is said beside it), `table_fulls` and
`forced_gc_runs` of /proc/net/stat/arp_cache and ndisc_cache (neighbour.c, "neighbor table overflow!"),
IPReversePathFilter of /proc/net/netstat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from recoverd.diagnose.nodes import away, node_of
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code, Of, codes, ends_of
from recoverd.model.facts import CureFacts, Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.kernel import KernelView, TableView
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.network_operations import forwarding_of

NEARLY = 0.95
"""Share of a table from which on it is called nearly full: conntrack's fills within seconds."""
PATHS = codes(Of.PATHS)
BETWEEN = frozenset({Code.POD_PATH_BROKEN, Code.POD_NETWORK_BROKEN})


def findings(scene: Scene, view: NetworkView, beside: Iterable[Finding]) -> Iterator[Finding]:
    """`beside` are the findings of services and paths, which such a table explains."""
    found = tuple(beside)
    for name, host in view.hosts.items():
        if not isinstance(host, NodeNetworkView) or host.kernel is None:
            continue
        if scene.node(name) is None or away(scene, name):
            continue
        failing = {f.code for f in found if f.code in PATHS and name in concerned(f)}
        yield from _conntrack(scene, name, host.kernel.conntrack, failing=bool(failing))
        yield from islice(_neighbours(scene, name, host.kernel, failing=bool(failing)), 1)
        if failing & BETWEEN:
            yield from _reverse_path(scene, name, host.kernel)
            if host.forwarding:
                yield from _still(scene, name, host.kernel)


def concerned(finding: Finding) -> frozenset[str]:
    """The machines of which a finding of paths says that packets to or from them are lost: both ends of a path."""
    ends = ends_of(finding.subject) if finding.code == Code.POD_PATH_BROKEN else ()
    return frozenset((finding.facts.host, *ends))


def _conntrack(scene: Scene, name: str, table: TableView | None, *, failing: bool) -> Iterator[Finding]:
    if table is None or table.share < NEARLY:
        return
    yield _finding(
        scene,
        Code.CONNTRACK_FULL,
        name,
        table,
        (f"The table of connections of {name}", "the kernel drops what opens new ones, of its pods and services too"),
        _more_connections(name, table),
        f"and for good conntrack.min: {2 * table.limit} in `kubectl -n kube-system edit configmap kube-proxy`, which "
        "kube-proxy sets at each of its starts; what has filled it: "
        "`conntrack -L | grep -o 'src=[^ ]*' | sort | uniq -c | sort -n | tail`",
        f"{name}: nf_conntrack_count = {table.used}, nf_conntrack_max = {table.limit}",
        failing=failing,
    )


def _neighbours(scene: Scene, name: str, kernel: KernelView, *, failing: bool) -> Iterator[Finding]:
    """Permanent entries, as flannel makes them, are in the count and not under the limit from Linux 5.0 on: a full
    table is one in which the kernel looks for room. Of each family, whose tables are apart.
    """
    for family, what, cache, table in _families(kernel):
        if not (table.refused or (table.share >= NEARLY and table.pressed)):
            continue
        yield _finding(
            scene,
            Code.NEIGHBOURS_FULL,
            name,
            table,
            (
                f"The table of neighbours ({what}) of {name}",
                "a pod or node that is not in it is not reached from there",
            ),
            _more_neighbours(name, family, table),
            "and the same in a file in /etc/sysctl.d",
            f"{name}: {cache} has {table.used} entries, net.{family}.neigh.default.gc_thresh3 = {table.limit}",
            failing=failing,
        )


def _families(kernel: KernelView) -> Iterator[tuple[str, str, str, TableView]]:
    """Name among the sysctls, what it is called, the kernel's own name of the table, and the table."""
    if kernel.neighbours:
        yield "ipv4", "ARP", "arp_cache", kernel.neighbours
    if kernel.neighbours6:
        yield "ipv6", "IPv6, NDP", "ndisc_cache", kernel.neighbours6


def _more_connections(name: str, table: TableView) -> str:
    return f"`sysctl -w net.netfilter.nf_conntrack_max={2 * table.limit}` on {name}"


def _more_neighbours(name: str, family: str, table: TableView) -> str:
    first, second, third = (max(table.limit, 1024) * n for n in (1, 4, 8))
    of = f"net.{family}.neigh.default.gc_thresh"
    return f"`sysctl -w {of}3={third} {of}2={second} {of}1={first}` on {name}"


def dropping(scene: Scene, name: str) -> tuple[str, str] | None:
    """Why nothing new comes out of this machine, nor into it, in words, and the cure: a table of its kernel is full,
    for which that counts what it drops. kubelet keeps an open connection until it breaks, and then gets no other.
    """
    view = scene.observation.network
    host = view.hosts.get(name) if isinstance(view, NetworkView) else None
    kernel = host.kernel if isinstance(host, NodeNetworkView) else None
    if kernel is None:
        return None
    table = kernel.conntrack
    if table and table.refused and table.share >= NEARLY:
        return f"the table of connections of {name} is full, so that it opens no new ones", _more_connections(
            name, table
        )
    for family, what, _, table in _families(kernel):
        if table.refused:
            return f"the table of neighbours ({what}) of {name} is full", _more_neighbours(name, family, table)
    return None


def _finding(
    scene: Scene,
    code: Code,
    name: str,
    table: TableView,
    what: tuple[str, str],
    cure: str,
    lasts: str,
    line: str,
    *,
    failing: bool,
) -> Finding:
    """`what` is the table and what its being full means, `cure` what helps at once, `lasts` what makes that last.
    Numbers that change from sweep to sweep are in the evidence alone.
    """
    broken = failing or bool(table.refused)
    counted = f"; in the last minute there was no room {table.refused} times" if table.refused else ""
    full = "is full: " if broken else "is nearly full; once it is, "
    return Finding(
        code,
        node_of(scene, name),
        f"{what[0]}, for {table.limit}, {full}{what[1]}. No restart changes that; a reboot empties it, and it "
        f"fills again. Cure: {cure}, {lasts}.",
        (f"{line}{counted}",),
        severity=Severity.FAULT if broken else Severity.WARNING,
        state=State.WORKER_NETWORK_BROKEN if broken else None,
        facts=CureFacts(name, node_of(scene, name), cure),
    )


def _reverse_path(scene: Scene, name: str, kernel: KernelView) -> Iterator[Finding]:
    """Strict is what many distributions have, and what Calico asks for: it is named only where it drops packets beside
    a path that is broken.
    """
    if not kernel.strict or not kernel.reverse_path:
        return
    where = ", ".join(kernel.strict)
    cure = f"`sysctl -w net.ipv4.conf.all.rp_filter=2` on {name}"
    yield Finding(
        Code.REVERSE_PATH_FILTERED,
        node_of(scene, name),
        f"{name} drops packets that come in over another device than the one over which it would answer (rp_filter "
        f"is 1, strict, for {where}), and paths of its pods are broken. No "
        f"restart and no reboot changes that. Cure: {cure}, and the same in a file in /etc/sysctl.d (a Calico before "
        "3.12 refuses 2: there 0, for all and for that device), or routes that lead both ways over one device.",
        (f"{name}: IPReversePathFilter has grown by {kernel.reverse_path} in the last minute; rp_filter = 1: {where}",),
        state=State.WORKER_NETWORK_BROKEN,
        facts=CureFacts(name, node_of(scene, name), cure),
    )


def _still(scene: Scene, name: str, kernel: KernelView) -> Iterator[Finding]:
    """A device may be meant not to forward: it is named beside a path that is broken, and where it did before."""
    known = scene.memory.networks.get(name)
    new = [d for d in kernel.still if known and known.still is not None and d not in known.still]
    if not new:
        return
    devices = ", ".join(new)
    yield Finding(
        Code.IP_FORWARDING_OFF,
        node_of(scene, name),
        f"IP forwarding is switched off on {name} for {devices} alone, as by systemd-networkd (IPv4Forwarding=, "
        "IPForward=) or NetworkManager at its restart: what comes in there for pods, or from them, is dropped.",
        tuple(f"{name}: {forwarding_of(d)} = 0; not so while healthy" for d in new),
        state=State.WORKER_NETWORK_BROKEN,
        facts=Facts(name, node_of(scene, name)),
    )
