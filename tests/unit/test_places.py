"""Clusters whose things are not where kubeadm puts them: what is read from the machine, and what is not concluded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.scene import API
from recoverd.memory.remember import Sights, remember
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, EtcdDataView, NodeView, ObjectsView, UnseenKind
from recoverd.model.places import Places, Socket, authority, etcd_elsewhere, flag, places_of
from recoverd.playbooks.etcd_manifest import with_flag, with_flags, without_flag
from tests.unit.builders import Cluster, manifest, unseen

NO_DATA = EtcdDataView("/var/lib/etcd", False, True)
SERVERS = "https://etcd1.example:2379,https://10.99.9.12:2379"


def two_sweeps(cluster: Cluster) -> tuple[Diagnosis, Memory]:
    """The diagnosis of the second sweep of a cluster that recoverd has never seen before, and what is remembered."""
    memory, diagnosis = Memory(), None
    sights: Sights = {}
    for _ in range(2):
        observation = cluster.observation()
        diagnosis = diagnose(observation, memory, cluster.settings)
        memory, sights = remember(observation, diagnosis, memory, cluster.settings, sights)
    assert diagnosis is not None
    return diagnosis, memory


def external(servers: str = SERVERS, kind: UnseenKind = UnseenKind.REFUSED) -> Cluster:
    """kubeadm's `etcd.external`: no manifest of etcd, no data, and nothing on port 2379."""
    cluster = Cluster(3)
    for name in cluster.joined:
        cluster.manifest(name, "etcd", None).manifest(name, API, manifest(API, f"--etcd-servers={servers}"))
        cluster.host(name, etcd_data=NO_DATA)
        cluster.host(name, containers={c: v for c, v in cluster._seen(name).containers.items() if c != "etcd"})
        cluster.etcd[name] = unseen(kind)
    return cluster


@pytest.mark.parametrize("kind", [UnseenKind.REFUSED, UnseenKind.NOT_TRIED])
def test_external_etcd_is_out_of_sight_and_nothing_is_wrong_with_it(kind: UnseenKind) -> None:
    """It was called "data directory gone" on every control plane from the second sweep on, for ever."""
    diagnosis, memory = two_sweeps(external(kind=kind))
    assert diagnosis.state is State.HEALTHY and not diagnosis.faults, diagnosis.findings
    told = [f for f in diagnosis.findings if f.code == Code.SOURCE_UNSEEN]
    assert [f.subject for f in told] == ["etcd"] and told[0].severity is Severity.NOTICE
    assert "etcd1.example" in told[0].message
    assert set(memory.manifests) == {"cp1", "cp2", "cp3"}  # what can be remembered is


def test_faults_of_a_cluster_with_external_etcd_are_found_nevertheless() -> None:
    _, memory = two_sweeps(external())
    broken = external().manifest("cp2", API, None).container("cp2", API, running=False)
    broken.endpoint("cp2", EndpointHealth.REFUSED)
    diagnosis = diagnose(broken.observation(), memory, broken.settings)
    assert [f.key for f in diagnosis.faults] == [(Code.MANIFEST_MISSING, "cp2")]


@pytest.mark.parametrize("servers", ["https://127.0.0.1:2379", "https://[::1]:2379", "https://localhost:2379"])
def test_etcd_on_the_machine_itself_is_not_external_and_its_loss_is_found(servers: str) -> None:
    cluster = external(servers)
    diagnosis = diagnose(cluster.observation(), Memory(), cluster.settings)
    assert Code.SOURCE_UNSEEN not in [f.code for f in diagnosis.findings if f.subject == "etcd"]
    memory = replace(Cluster(3).memory(), watermark=None)
    diagnosis = diagnose(cluster.observation(), memory, cluster.settings)
    assert {(Code.ETCD_DATA_EMPTY, n) for n in cluster.joined} <= {f.key for f in diagnosis.faults}


def test_a_cluster_whose_etcd_was_seen_never_becomes_one_with_external_etcd() -> None:
    """Every member's manifest and data gone at once, and API servers that name all members by their addresses."""
    before = Cluster(3)
    for name in before.joined:
        before.manifest(name, API, manifest(API, f"--etcd-servers={SERVERS}"))
    before._healthy = before.observation()
    diagnosis = diagnose(external().observation(), before.memory(), before.settings)
    assert diagnosis.state is State.ETCD_STUCK and diagnosis.faults


def test_the_servers_of_a_manifest() -> None:
    assert etcd_elsewhere(manifest(API, f"--etcd-servers={SERVERS}").content) == tuple(SERVERS.split(","))
    assert etcd_elsewhere(manifest(API, "--etcd-servers=https://10.0.0.9:2379,https://127.0.0.1:2379").content) == ()
    assert etcd_elsewhere(manifest(API, '"--etcd-servers=https://[fd00::9]:2379"').content) == (
        "https://[fd00::9]:2379",
    )
    assert etcd_elsewhere(manifest(API).content) == ()


def etcd(*flags: str) -> str:
    return manifest("etcd", *flags).content


@pytest.mark.parametrize(
    ("flags", "gateway", "metrics"),
    [
        ((), Socket("127.0.0.1", 2379, True), Socket("127.0.0.1", 2381, False)),
        (
            (
                "--listen-client-urls=https://127.0.0.1:2379,https://10.99.1.11:2379",
                "--listen-metrics-urls=http://127.0.0.1:2381",
            ),
            Socket("127.0.0.1", 2379, True),
            Socket("127.0.0.1", 2381, False),
        ),
        (  # kubeadm's with an IPv6 advertise address
            (
                "--listen-client-urls=https://[::1]:2379,https://[fd00:1::11]:2379",
                "--listen-metrics-urls=http://[::1]:2381",
            ),
            Socket("::1", 2379, True),
            Socket("::1", 2381, False),
        ),
        (  # gRPC alone on the client URLs: the JSON gateway has moved
            ("--listen-client-urls=https://127.0.0.1:2379", "--listen-client-http-urls=https://127.0.0.1:2382"),
            Socket("127.0.0.1", 2382, True),
            Socket("127.0.0.1", 2381, False),
        ),
        (
            ("--listen-client-urls=https://10.99.1.11:12379", "--listen-metrics-urls=https://0.0.0.0:12381"),
            Socket("10.99.1.11", 12379, True),
            Socket("127.0.0.1", 12381, True),
        ),
        (
            ("--listen-client-urls=unix://sock:1,https://[::]:2379", "--listen-metrics-urls=http://host:nonsense"),
            Socket("::1", 2379, True),
            Socket("127.0.0.1", 2381, False),
        ),
    ],
)
def test_where_etcd_listens_by_its_manifest(flags: tuple[str, ...], gateway: Socket, metrics: Socket) -> None:
    found = places_of((), (etcd(*flags),))
    assert (found.etcd, found.metrics) == (gateway, metrics)


BESIDE = """  containers:
  - command: [/plugin, --secure-port=1, '--listen-client-urls=https://127.0.0.1:1']
    image: registry.example/beside:1
    name: beside
"""


@pytest.mark.parametrize(
    "lines",
    [
        ('- "--secure-port=8443" # beside haproxy',),
        ("- --secure-port", "- '8443'"),
        ("- -secure-port=8443",),
        ("- --secure-port=6443", "- --secure-port=8443"),
        ("- {not: [whole", "- --secure-port=8443"),
    ],
)
def test_a_flag_is_read_however_people_write_it(lines: tuple[str, ...]) -> None:
    """What was not read as kubeadm writes it was taken to be kubeadm's own: port 6443, /var/lib/etcd."""
    plain = manifest(API, "--profiling=false").content
    assert "    - kube-apiserver\n" in plain
    text = plain.replace("    - kube-apiserver\n", "    - kube-apiserver\n" + "".join(f"    {x}\n" for x in lines))
    assert flag(text, "--secure-port") == "8443" and places_of((text,), ()).api == 8443


def test_the_flags_of_a_container_beside_the_component_are_not_its_own() -> None:
    text = etcd("--listen-client-urls=https://127.0.0.1:2389").replace("  containers:\n", BESIDE)
    assert places_of((), (text,)).etcd == Socket("127.0.0.1", 2389, True)


@pytest.mark.parametrize(
    ("lines", "becomes"),
    [
        (("- --initial-cluster=a=https://10.0.0.1:2380",), "b"),
        (('- "--initial-cluster=a=https://10.0.0.1:2380" # as agreed',), "b"),
        (("- '--initial-cluster=a'", "- --initial-cluster=c   # twice"), "b"),
        (("- --initial-cluster", "- a=https://10.0.0.1:2380"), ""),
        (("- {not: [whole",), ""),
    ],
)
def test_flags_are_set_in_the_place_of_others_of_their_name_or_not_at_all(lines: tuple[str, ...], becomes: str) -> None:
    """etcd takes the last of them, so that a member would be restored into what the old one names."""
    text = etcd().replace("    - etcd\n", '    - "etcd" # ours\n' + "".join(f"    {x}\n" for x in lines))
    changed = with_flags(text, {"--initial-cluster": "b"})
    assert (changed is not None) is bool(becomes)
    assert changed is None or (flag(changed, "--initial-cluster") == "b" and changed.count("--initial-cluster") == 1)


def test_a_flag_of_a_container_beside_etcd_is_not_taken_out() -> None:
    beside = "  containers:\n  - command:\n    - /plugin\n    - --initial-cluster=x\n    name: beside\n"
    assert (
        with_flags(etcd("--initial-cluster=a").replace("  containers:\n", beside), {"--initial-cluster": "b"}) is None
    )


def test_the_flag_is_taken_out_and_put_in_however_people_wrote_it() -> None:
    """It was left in place, so that the next start of etcd would have thrown the others out."""
    text = etcd(FORCE).replace(f"- {FORCE}", f'- "{FORCE}=true" # take out again')
    assert FORCE in text and FORCE not in without_flag(text)
    again = with_flag(text)
    assert again is not None and again.count(FORCE) == 1 and without_flag(again) == without_flag(text)


def test_a_control_plane_that_kubeadm_has_not_made_is_let_be() -> None:
    """OpenShift's, and one of systemd's units: its components were called down, and `kubeadm init` was advised."""
    cluster = Cluster(1)
    of_others = {"kube-apiserver-pod": manifest(API)}
    cluster.host("cp1", manifests=of_others, containers={}, certificates=(), etcd_data=NO_DATA)
    cluster.etcd["cp1"] = unseen(UnseenKind.REFUSED)
    diagnosis, memory = two_sweeps(cluster)
    assert diagnosis.state is State.HEALTHY and not diagnosis.faults, diagnosis.findings
    assert [(f.code, f.subject) for f in diagnosis.findings] == [(Code.NOT_JOINED, "cp1")]
    assert "only control planes that kubeadm has made" in diagnosis.findings[0].message
    cluster.endpoint("cp1", EndpointHealth.REFUSED).address_answers(EndpointHealth.REFUSED)
    down = diagnose(cluster.observation(), memory, cluster.settings)
    assert [f.code for f in down.faults] == [Code.API_NOT_ANSWERING]


def test_machines_that_the_configuration_names_otherwise_are_known_by_their_boots() -> None:
    cluster = Cluster(1)

    def told(boot: str) -> str:
        cluster.objects = ObjectsView((NodeView("ip-10-0-0-1", True, address="192.168.7.1", boot_id=boot),), {})
        diagnosis = diagnose(cluster.observation(), Memory(), cluster.settings)
        assert (diagnosis.state, diagnosis.faults) == (State.UNOBSERVABLE, ())
        return next(f.message for f in diagnosis.findings if f.subject == "kubeconfig")

    assert "By their boots" not in told("boot-1"), "all have it, as containers of one machine"
    cluster.host("cp1", boot_id="boot-of-cp1")
    assert "(cp1 is ip-10-0-0-1): name each" in told("boot-of-cp1")
    assert "By their boots" not in told("another")


def test_a_manifest_that_does_not_say_it_any_more_leaves_what_is_remembered() -> None:
    mistyped, known = (manifest(API, f"--secure-{p}=8443").content for p in ("prot", "port"))
    assert places_of((mistyped, known), ()).api == 8443
    assert places_of((mistyped,), (), Places(api=8443)).api == 8443
    assert places_of((mistyped,), ()).api == 6443


def test_an_address_in_a_url() -> None:
    assert authority("fd00:1::11", 6443) == "[fd00:1::11]:6443"
    assert authority("10.0.0.1", 6443) == "10.0.0.1:6443"
    assert str(Socket("::1", 2379, True)) == "[::1]:2379"


def without_manifests(problem: str = "") -> Cluster:
    """All runs, and none of the manifests is in the directory that was looked at."""
    cluster = Cluster(3)
    for name in cluster.joined:
        cluster.host(name, manifests={}, problems=(problem,) if problem else ())
    return cluster


@pytest.mark.parametrize("problem", ["", "its static pod manifests are in /srv/static"])
def test_static_pods_that_run_and_were_never_seen_elsewhere_have_their_manifests_somewhere(problem: str) -> None:
    diagnosis, memory = two_sweeps(without_manifests(problem))
    assert diagnosis.state is State.HEALTHY and not diagnosis.faults, diagnosis.findings
    assert not any(memory.manifests.values())


def test_a_manifest_that_was_seen_is_missing_though_its_container_still_runs() -> None:
    cluster = without_manifests()
    diagnosis = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert (Code.MANIFEST_MISSING, "cp1") in [f.key for f in diagnosis.faults]


def test_a_manifest_is_missing_where_nothing_runs_either() -> None:
    cluster = without_manifests()
    for name in cluster.joined:
        cluster.container(name, API, running=False)
    diagnosis = diagnose(cluster.observation(), Memory(), cluster.settings)
    assert (Code.MANIFEST_MISSING, "cp1") in [f.key for f in diagnosis.faults]
