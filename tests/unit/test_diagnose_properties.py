"""Whatever is observed: diagnose never raises, and what is not seen is never a fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.diagnose import diagnose
from recoverd.model.etcd import AlarmEntry, EtcdView, MemberEntry
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import (
    ApiView,
    CertificateView,
    ContainerView,
    EndpointHealth,
    EndpointView,
    EtcdDataView,
    HostView,
    ManifestView,
    NodeView,
    ObjectsView,
    Observation,
    UnitView,
    Unseen,
    UnseenKind,
)
from tests.unit.builders import NOW, Cluster, manifest_of

NAMES = ("cp1", "cp2", "cp3", "cp4", "w1", "w2")
BASE = Cluster(control_planes=3, workers=2, spares=1)
words = st.sampled_from(("", "cp1", "cp2", "cp9", "\ufffd", "http://[::1", "https://10.99.1.12:2380", "k8s-api"))
ids = st.sampled_from(("", "a", "b", "c", "d"))
times = st.sampled_from((-4e8, -86400.0, -30.0, -3.0, 0.0, 30.0, 4e8)).map(lambda s: NOW + timedelta(seconds=s))
unseens = st.builds(Unseen, st.sampled_from(UnseenKind), words)
members = st.lists(
    st.builds(MemberEntry, ids, words, st.lists(words, max_size=2).map(tuple), learner=st.booleans()), max_size=4
).map(tuple)
counts = st.sampled_from((0, 1, 1234, 1 << 40))
etcds = st.builds(
    EtcdView,
    member_id=ids,
    cluster_id=ids,
    version=words,
    revision=counts,
    raft_term=counts,
    leader=ids,
    learner=st.booleans(),
    healthy=st.booleans(),
    health_reason=words,
    members=members,
    db_size=counts,
    db_in_use=counts,
    quota=counts,
    alarms=st.lists(st.builds(AlarmEntry, ids, st.sampled_from(("NOSPACE", "CORRUPT", "OTHER"))), max_size=2).map(
        tuple
    ),
)
contents = st.sampled_from(
    ("", "kind: Pod", "--force-new-cluster", next(iter(BASE.host_view().manifests.values())).content)
)
manifests: st.SearchStrategy[ManifestView] = st.builds(
    manifest_of, st.sampled_from(("etcd", "kube-apiserver")), contents, words
)
components = st.sampled_from(("etcd", "kube-apiserver", "kube-scheduler"))
containers = st.builds(
    ContainerView,
    components,
    st.booleans(),
    st.none() | times,
    st.sampled_from((None, 0, 1, 137)),
    st.integers(0, 3),
    st.lists(words, max_size=2).map(tuple),
)
units = st.builds(
    UnitView,
    st.sampled_from(("kubelet", "containerd")),
    words,
    st.sampled_from(("active", "inactive", "activating", "failed", "")),
    words,
    since=st.none() | times,
)
hosts = st.builds(
    HostView,
    boot_id=words,
    clock_offset=st.sampled_from((0.0, -1e5, 1e5)),
    uptime=st.sampled_from((0.0, 10.0, 1e6)),
    joined=st.booleans(),
    runtime=st.sampled_from(("", "containerd", "docker")),
    units=st.dictionaries(st.sampled_from(("kubelet", "containerd")), units),
    manifests=st.dictionaries(components, manifests),
    containers=st.dictionaries(components, containers),
    certificates=st.lists(st.builds(CertificateView, words, words, words, times, times, st.booleans()), max_size=2).map(
        tuple
    ),
    etcd_data=st.none() | st.builds(EtcdDataView, words, st.booleans(), st.booleans()),
    problems=st.lists(words, max_size=1).map(tuple),
)
endpoints = st.builds(
    EndpointView,
    words,
    st.sampled_from(EndpointHealth),
    words,
    st.lists(words, max_size=1).map(tuple),
    st.none() | times,
)
objects = st.builds(
    ObjectsView, st.lists(st.builds(NodeView, words, st.booleans()), max_size=3).map(tuple), st.just({})
)
SILENT = (EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE, EndpointHealth.UNRESOLVED, EndpointHealth.TLS)
silent_endpoints = st.builds(EndpointView, words, st.sampled_from(SILENT), words)
memories = st.sampled_from((Memory(), BASE.memory(), replace(BASE.memory(), healthy_at=None)))


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A view for any number of the names, and the healthy one for others."""
    return st.dictionaries(st.sampled_from(NAMES), strategy)


def sweep(
    vip: EndpointView, members: dict[str, Any], listed: Any, etcd: dict[str, Any], seen: dict[str, Any]
) -> Observation:
    healthy = BASE.observation()
    return replace(healthy, api=ApiView(vip, members, listed), etcd=etcd, hosts=seen)


@settings(max_examples=300)
@given(
    endpoints, some(endpoints), objects | unseens, some(etcds | unseens), some(hosts | unseens), memories, st.booleans()
)
def test_never_raises_and_is_consistent(
    vip: EndpointView, api: Any, listed: Any, etcd: Any, seen: Any, memory: Memory, mixed: bool
) -> None:
    healthy = BASE.observation()
    if mixed:
        api, etcd, seen = {**healthy.api.members, **api}, {**healthy.etcd, **etcd}, {**healthy.hosts, **seen}
    diagnosis = diagnose(sweep(vip, api, listed, etcd, seen), memory, BASE.settings)
    assert diagnosis.summary
    assert bool(diagnosis.faults) == (diagnosis.state not in (State.HEALTHY, State.UNOBSERVABLE))
    assert all(f.state is not None and f.evidence for f in diagnosis.faults)
    assert len({f.key for f in diagnosis.findings}) == len(diagnosis.findings)
    assert diagnosis == diagnose(sweep(vip, api, listed, etcd, seen), memory, BASE.settings)


@settings(max_examples=200)
@given(silent_endpoints, some(silent_endpoints), unseens, some(unseens), some(unseens), memories)
def test_what_is_not_seen_is_never_a_fault(
    vip: EndpointView, api: Any, listed: Any, etcd: Any, seen: Any, memory: Memory
) -> None:
    diagnosis = diagnose(sweep(vip, api, listed, etcd, seen), memory, BASE.settings)
    assert (diagnosis.state, diagnosis.faults) == (State.UNOBSERVABLE, ())


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(NAMES), unseens),
    st.dictionaries(st.sampled_from(NAMES[:3]), unseens.filter(lambda u: u.kind != UnseenKind.REFUSED)),
)
def test_losing_sight_of_a_healthy_cluster_makes_no_fault(blind_hosts: Any, blind_etcd: Any) -> None:
    """The cluster's address and the API servers answer; any part of SSH and etcd is not seen."""
    healthy = BASE.observation()
    etcd = {**healthy.etcd, **blind_etcd} | {
        n: Unseen(UnseenKind.NOT_TRIED, "no SSH") for n in blind_hosts if n in healthy.etcd
    }
    diagnosis = diagnose(
        replace(healthy, hosts={**healthy.hosts, **blind_hosts}, etcd=etcd), BASE.memory(), BASE.settings
    )
    rests = any(isinstance(v, EtcdView) for v in etcd.values()) and any(n not in blind_hosts for n in NAMES[:3])
    assert (diagnosis.state, diagnosis.faults) == (State.HEALTHY if rests else State.UNOBSERVABLE, ())
