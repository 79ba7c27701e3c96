"""Tables of a node's kernel that are full, and what its reverse path filter drops."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.kernel import KernelView, TableView
from recoverd.model.network_operations import Sysctl
from recoverd.observe.kernel import Counts, KernelWatch, counts_of
from recoverd.playbooks.base import Proposal, Refusal, Wait
from tests.unit.builders import Cluster
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import ask, fault, situation
from tests.unit.test_not_ready import STOPPED, WELL

FULL, ROOM = TableView(65000, 65536, 0), TableView(700, 65536, 0)
STRICT = KernelView(ROOM, ROOM, ("all", "eth0"), 12)


def found(net: PodNetwork) -> list[tuple[str, str, Severity]]:
    return [(f.code, f.subject, f.severity) for f in net.seen().findings]


def test_a_table_that_is_nearly_full_is_a_warning_with_the_sysctl() -> None:
    net = PodNetwork().host("w2", kernel=KernelView(FULL, ROOM))
    assert found(net) == [(Code.CONNTRACK_FULL, "w2", Severity.WARNING)]
    (warned,) = net.seen().findings
    assert (
        "connections of w2, for 65536, is nearly full" in warned.message
        and "nf_conntrack_max=131072` on w2" in warned.message
    )
    assert "conntrack.min: 131072" in warned.message and net.seen().state is State.HEALTHY
    assert found(PodNetwork().host("w2", kernel=KernelView(TableView(62000, 65536, 0), ROOM))) == []


def test_one_for_which_the_kernel_drops_packets_is_a_fault() -> None:
    net = PodNetwork().host("w2", kernel=KernelView(replace(FULL, refused=3)))
    assert found(net) == [(Code.CONNTRACK_FULL, "w2", Severity.FAULT)]
    assert net.seen().state is State.WORKER_NETWORK_BROKEN
    (finding,) = net.seen().findings
    assert "is full: the kernel drops" in finding.message and "no room 3 times" in finding.evidence[0]
    elsewhere = PodNetwork().host("w2", kernel=KernelView(replace(ROOM, refused=3)))
    assert found(elsewhere) == [], "conntrack drops what is malformed, too"


def test_one_beside_what_fails_is_its_cause_at_either_end_of_a_path() -> None:
    for full, other in (("w2", "w3"), ("w1", "w3")):
        net = PodNetwork().host(full, kernel=KernelView(FULL)).host(other, kernel=KernelView(FULL)).cut("w1", "w2")
        assert found(net) == [
            (Code.CONNTRACK_FULL, full, Severity.FAULT),
            (Code.POD_PATH_BROKEN, "w1>w2", Severity.FAULT),
            (Code.CONNTRACK_FULL, other, Severity.WARNING),
        ]


def test_neighbours_that_are_permanent_are_no_sign_of_a_full_table() -> None:
    many = TableView(1020, 1024, 0)
    assert found(PodNetwork().host("w2", kernel=KernelView(neighbours=many))) == []
    near = PodNetwork().host("w2", kernel=KernelView(neighbours=replace(many, pressed=True)))
    assert found(near) == [(Code.NEIGHBOURS_FULL, "w2", Severity.WARNING)]
    over = PodNetwork().host("w2", kernel=KernelView(neighbours=TableView(900, 1024, 4)))
    assert found(over) == [(Code.NEIGHBOURS_FULL, "w2", Severity.FAULT)]
    (finding,) = over.seen().findings
    assert "gc_thresh3=8192 net.ipv4.neigh.default.gc_thresh2=4096" in finding.message
    assert "no room 4 times" in finding.evidence[0]


def test_ipv6s_neighbours_have_a_table_of_their_own() -> None:
    over = PodNetwork().host("w2", kernel=KernelView(neighbours6=TableView(900, 1024, 4)))
    assert found(over) == [(Code.NEIGHBOURS_FULL, "w2", Severity.FAULT)]
    (finding,) = over.seen().findings
    assert "(IPv6, NDP)" in finding.message and "net.ipv6.neigh.default.gc_thresh3=8192" in finding.message
    assert "ndisc_cache has 900 entries, net.ipv6.neigh.default.gc_thresh3 = 1024" in finding.evidence[0]
    both = KernelView(neighbours=TableView(900, 1024, 4), neighbours6=TableView(900, 1024, 4))
    assert found(PodNetwork().host("w2", kernel=both)) == [(Code.NEIGHBOURS_FULL, "w2", Severity.FAULT)]
    watch = KernelWatch()
    watch.look("w1", Counts(neighbours=(9, 1024, 0, 0), neighbours6=(9, 1024, 0, 0)), 0.0)
    view = watch.look("w1", Counts(neighbours=(9, 1024, 0, 0), neighbours6=(9, 1024, 5, 0)), 5.0)
    assert view and view.neighbours and view.neighbours6
    assert (view.neighbours.refused, view.neighbours6.refused) == (0, 5)


@pytest.mark.parametrize(
    ("kernel", "word"),
    [
        (KernelView(replace(FULL, refused=3)), "nf_conntrack_max=131072"),
        (KernelView(neighbours=TableView(1024, 1024, 2)), "net.ipv4.neigh"),
        (KernelView(neighbours6=TableView(1024, 1024, 2)), "net.ipv6.neigh"),
    ],
)
def test_a_node_whose_kubelet_gets_no_connection_for_it_is_not_restarted(kernel: KernelView, word: str) -> None:
    """kubelet answers there and reaches nobody: a fresh one would not either."""
    net = PodNetwork().host("w2", kernel=kernel)
    net.cluster.node("w2", ready=False, since=net.now - timedelta(seconds=90), **STOPPED)
    net.cluster.host("w2", node=replace(WELL, reaches=False, said="no answer within 2 s"))
    faults = net.seen().faults
    (why,) = [f for f in faults if f.code == Code.NODE_NOT_READY]
    assert word in why.message and "No restart and no reboot" in why.message
    answer = ask("restart-node-agents", situation(net.cluster, why), why)
    assert isinstance(answer, Refusal) and word in answer.reason
    room = PodNetwork().host("w2", kernel=KernelView(ROOM, ROOM, neighbours6=ROOM))
    room.cluster = net.cluster
    assert [f.code for f in room.seen().faults] == [Code.NODE_CUT_OFF]


def test_a_reverse_path_filter_is_named_only_where_it_drops_beside_a_broken_path() -> None:
    assert found(PodNetwork().host("w2", kernel=STRICT)) == [], "never alone"
    for kernel, named in (
        (STRICT, [(Code.REVERSE_PATH_FILTERED, "w2", Severity.FAULT)]),
        (replace(STRICT, reverse_path=0), []),
        (replace(STRICT, reverse_path=None), []),
        (replace(STRICT, strict=()), []),
    ):
        net = PodNetwork().host("w2", kernel=kernel).cut("w1", "w2")
        assert found(net) == [*named, (Code.POD_PATH_BROKEN, "w1>w2", Severity.FAULT)]


def test_nothing_is_said_of_what_is_not_told() -> None:
    assert found(PodNetwork().host("w2", kernel=None)) == []
    assert found(PodNetwork().host("w2", kernel=KernelView())) == []


def test_it_is_gone_only_where_the_tables_were_read() -> None:
    key = (Code.CONNTRACK_FULL, "w2")
    for kernel, gone in ((KernelView(ROOM), True), (KernelView(), True), (None, False)):
        net = PodNetwork().host("w2", kernel=kernel)
        why = doubt([key], net.seen(), net.observation())
        assert (why == "") is gone and (gone or "kernel's tables of w2" in why)


# --- what is done about it ---

CAUSES = (Code.CONNTRACK_FULL, Code.NEIGHBOURS_FULL, Code.REVERSE_PATH_FILTERED)


def cause(code: Code, node: str) -> Finding:
    return fault(code, node, CureFacts, cure="`sysctl -w`")


@pytest.mark.parametrize("code", CAUSES)
@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_nothing_is_restarted_or_rebooted_for_it(playbook: str, code: Code) -> None:
    node = ask(playbook, situation(Cluster(1, 2), fault(Code.POD_NETWORK_BROKEN, "w1"), cause(code, "w1")))
    assert isinstance(node, Refusal) and f"w1 drops packets ({code})" in node.reason and "`sysctl -w`" in node.reason
    path = replace(fault(Code.POD_PATH_BROKEN, "w1"), subject="w1>w2")
    other_end = ask(playbook, situation(Cluster(1, 2), path, cause(code, "w2")))
    assert isinstance(other_end, Refusal) and f"w2 drops packets ({code})" in other_end.reason


def test_what_it_does_not_explain_is_repaired_beside_it() -> None:
    deaf = fault(Code.PODS_NOT_ON_NODE, "w1")
    assert isinstance(
        ask("restart-node-agents", situation(Cluster(1, 2), deaf, cause(Code.CONNTRACK_FULL, "w1"))), Proposal
    )
    path = fault(Code.POD_NETWORK_BROKEN, "w1")
    of_another = situation(Cluster(1, 2), path, cause(Code.CONNTRACK_FULL, "w2"))
    assert isinstance(ask("restart-node-agents", of_another), Proposal)


def test_a_restart_waits_for_a_cause_that_was_seen_once() -> None:
    effect = fault(Code.POD_NETWORK_BROKEN, "w1")
    now = situation(Cluster(1, 2), effect, cause(Code.CONNTRACK_FULL, "w1"))
    assert isinstance(ask("restart-node-agents", replace(now, confirmed=(effect,))), Wait)


# --- how the counts are read ---


def test_counts_that_grow_are_told_for_a_minute() -> None:
    watch = KernelWatch()

    def refused(dropped: int | None, at: float, host: str = "w1") -> int | None:
        view = watch.look(host, Counts(conntrack=(65536, 65536, dropped)), at)
        assert view and view.conntrack
        return view.conntrack.refused

    assert refused(40, 0.0) is None, "nothing to compare with"
    assert [refused(40, 5.0), refused(47, 10.0), refused(47, 60.0), refused(47, 71.0)] == [0, 7, 7, 0]
    assert [refused(49, 75.0), refused(2, 80.0)] == [2, 0], "a boot begins at 0"
    assert refused(5, 85.0) == 3
    assert refused(None, 90.0) is None and refused(9, 95.0) is None, "it was not read between"
    assert refused(100, 100.0, "w2") is None, "another machine's"


def test_lines_of_the_script() -> None:
    net = "/proc/sys/net"
    sysctls = [
        f"{net}/netfilter/nf_conntrack_count:65530",
        f"{net}/netfilter/nf_conntrack_max:65536",
        f"{net}/ipv4/neigh/default/gc_thresh3:1024",
        *(f"{net}/ipv4/conf/{device}:{value}" for device, value in (("all/rp_filter", 1), ("eth0/rp_filter", 2))),
        "",
    ]
    told = counts_of(sysctls, ["conntrack 3", "neighbours 40 0 1", "reverse-path 9"])
    assert told == Counts((65530, 65536, 3), (40, 1024, 0, 1), 9, ("all",))
    six = [*sysctls, f"{net}/ipv6/neigh/default/gc_thresh3:512"]
    assert counts_of(six, ["neighbours6 500 2 7"]).neighbours6 == (500, 512, 2, 7)
    assert counts_of(sysctls, ["neighbours6 500 2 7"]).neighbours6 is None, "no IPv6 there"
    assert counts_of(sysctls, ["conntrack"]).conntrack == (65530, 65536, None), "a kernel without that file"
    assert counts_of(sysctls[1:2], ["conntrack 3", "neighbours 40 0 1", "odd", ""]) == Counts()
    assert KernelWatch().look("w1", None, 0.0) is None


STILL = KernelView(ROOM, ROOM, still=("eth0.100",))


@pytest.mark.parametrize(
    ("known", "cut", "is_found"),
    [((), True, True), (("eth0.100",), True, False), (None, True, False), ((), False, False)],
    ids=["it forwarded before", "it never did", "never read", "no path is broken"],
)
def test_a_device_that_forwards_no_more_is_the_cause_of_a_broken_path_and_is_put_back(
    known: tuple[str, ...] | None, cut: bool, is_found: bool
) -> None:
    """systemd-networkd had taken it from the uplink: the agents were restarted unasked, and a reboot was offered."""
    net = PodNetwork().host("w2", kernel=STILL)
    if cut:
        net.cut("w1", "w2")
    memory = replace(net.memory(), networks={"w2": replace(net.memory().networks["w2"], still=known)})
    found = diagnose(net.observation(), memory, net.cluster.settings)
    finding = found.find(Code.IP_FORWARDING_OFF)
    assert (finding is not None) is is_found
    if finding:
        now = replace(situation(net.cluster, *found.faults), observation=net.observation(), memory=memory)
        plan = ask("restore-node-network", now, finding)
        assert isinstance(plan, Proposal) and not plan.asks
        assert [s.operation for s in plan.steps] == [Sysctl("net/ipv4/conf/eth0.100/forwarding", "1")]
        assert isinstance(o := plan.steps[0].operation, Sysctl)
        assert o.path == "/proc/sys/net/ipv4/conf/eth0.100/forwarding"
