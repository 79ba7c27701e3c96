"""Manifests of static pods that are none of kubeadm's, as kube-vip's: remembered, found gone or damaged, put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.people import at_work
from recoverd.diagnose.scene import Scene
from recoverd.memory.remember import Sights, remember
from recoverd.memory.static_pods import MEANT, SETTLE, without
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, FindingKey, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.observation import ContainerView, EndpointHealth, ManifestView
from recoverd.model.operations import WriteFile
from recoverd.model.static_pods import may_hold_secret, processes, static_pod
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.restore_manifest import PLAYBOOK
from recoverd.simulate.vip_faults import MANIFEST
from tests.unit.builders import NOW, Cluster, manifest, manifest_of

GONE: FindingKey = (Code.OTHER_MANIFEST_MISSING, "cp1/kube-vip")
LONG = NOW - timedelta(days=3)
VIP = replace(manifest_of("kube-vip", MANIFEST), modified_at=LONG)
KEEPALIVED = """apiVersion: v1
kind: Pod
metadata: {name: keepalived, namespace: kube-system}
spec:
  containers:
  - {name: keepalived, image: osixia/keepalived:2.0.17, env: [{name: AUTH_PASS, value: d0cker}]}
"""


def given(cluster: Cluster, *names: str, view: ManifestView = VIP, key: str = "kube-vip") -> Cluster:
    for name in names:
        cluster.manifest(name, key, view).container(name, key, started_at=LONG)
    return cluster


def looked(cluster: Cluster, memory: Memory, sights: Sights | None = None) -> tuple[Memory, Sights]:
    seen = cluster.observation()
    return remember(seen, diagnose(seen, memory, cluster.settings), memory, cluster.settings, sights or {})


def known(planes: int = 1, *names: str, view: ManifestView = VIP, key: str = "kube-vip") -> Memory:
    cluster = given(Cluster(planes), *(names or ("cp1",)), view=view, key=key)
    return looked(cluster, cluster.memory())[0]


def found(cluster: Cluster, memory: Memory) -> list[Finding]:
    return [
        f
        for f in diagnose(cluster.observation(), memory, cluster.settings).findings
        if f.code in (Code.OTHER_MANIFEST_MISSING, Code.OTHER_MANIFEST_INVALID)
    ]


def proposed(cluster: Cluster, memory: Memory, since: dict[FindingKey, datetime] | None = None) -> Answer:
    seen = cluster.observation()
    diagnosis = diagnose(seen, memory, cluster.settings)
    faults = diagnosis.faults or diagnosis.warnings
    times = {f.key: NOW - timedelta(seconds=15) for f in faults} | (since or {})
    situation = Situation(NOW, "prod-1", cluster.settings, seen, diagnosis, memory, faults, times)
    return PLAYBOOK.propose(next(f for f in faults if f.code in PLAYBOOK.repairs), situation)


# --- what is remembered ---


def test_it_is_known_good_once_it_has_stood_and_its_process_has_run_for_a_minute() -> None:
    memory = known()
    assert memory.manifests["cp1"]["kube-vip"].content == MANIFEST
    assert memory.manifests["cp1"]["kube-vip"].pod == "kube-system/kube-vip"
    young: ContainerView | None
    for young in (None, ContainerView("kube-vip", False), ContainerView("kube-vip", True, NOW - SETTLE / 2)):
        cluster = given(Cluster(1), "cp1")
        cluster.host("cp1", containers={**cluster._seen("cp1").containers, **({"kube-vip": young} if young else {})})
        if young is None:
            cluster.host("cp1", containers=Cluster(1)._seen("cp1").containers)
        assert "kube-vip" not in looked(cluster, cluster.memory())[0].manifests["cp1"], young


def test_a_changed_one_is_known_good_when_it_runs_from_that_file() -> None:
    memory, sights = known(), {}
    edited = manifest_of("kube-vip", MANIFEST.replace("v0.6.4", "v0.8.0"))

    def sweep(seconds: float, started: float, sights: Sights) -> tuple[str, Sights]:
        cluster = Cluster(1, now=NOW + timedelta(seconds=seconds))
        given(cluster, "cp1", view=replace(edited, modified_at=NOW))
        cluster.container("cp1", "kube-vip", started_at=NOW + timedelta(seconds=started))
        after, seen = looked(cluster, memory, sights)
        return after.manifests["cp1"]["kube-vip"].sha256, seen

    for seconds, started, new in ((0, -900, False), (70, -900, False), (70, 5, True)):
        sha, sights = sweep(seconds, started, sights)
        assert (sha == edited.sha256) is new, (seconds, started)


def test_of_one_with_a_password_the_digest_alone_is_kept() -> None:
    memory = known(view=replace(manifest_of("keepalived", KEEPALIVED), modified_at=LONG), key="keepalived")
    kept = memory.manifests["cp1"]["keepalived"]
    assert (kept.content, kept.pod) == ("", "kube-system/keepalived")
    cluster = Cluster(1).address_answers(EndpointHealth.TIMEOUT)
    (gone,) = found(cluster, memory)
    assert "d0cker" not in f"{gone} {memory}"
    answer = proposed(cluster, memory)
    assert isinstance(answer, Refusal) and "what may be a secret" in answer.reason


@pytest.mark.parametrize(
    "text, secret",
    [
        (MANIFEST, False),
        (KEEPALIVED, True),
        (MANIFEST.replace("name: address", "name: bgp_peers"), True),
        (MANIFEST.replace("- manager", "- --api-token=abc"), True),
        (MANIFEST.replace("- manager", "- --token-file=/etc/vip/token"), False),
        (MANIFEST.replace("10.99.1.10", "http://user:word@proxy:3128"), True),
        (MANIFEST.replace("hostNetwork: true", "tolerations: [{key: node-role.kubernetes.io/master}]"), False),
        ("no: [yaml", True),
    ],
)
def test_what_may_be_a_secret(text: str, secret: bool) -> None:
    assert may_hold_secret(text) is secret


def test_what_its_processes_may_be_called() -> None:
    pod = static_pod(KEEPALIVED.replace("image:", "command: [/container/tool/run], image:"))
    assert pod is not None and pod.programs == ("keepalived", "run")
    assert processes({"kube-vip": VIP, "etcd": manifest("etcd"), "a b": VIP}) == ()  # two files define one pod
    assert processes({"kube-vip": VIP, "etcd.yaml.bak": manifest("etcd")}) == (("kube-vip", "kube-vip"),)
    odd = manifest_of("x", MANIFEST.replace("name: kube-vip", "name: '$(reboot)'").replace("/kube-vip", "/a b"))
    assert processes({"x": odd, "$(reboot)": VIP}) == ()


# --- what is found ---


def test_one_that_is_gone_while_the_address_answers_and_it_stands_nowhere_else_is_a_warning_and_then_forgotten() -> (
    None
):
    memory, sights = known(), {}
    (gone,) = found(Cluster(1), memory)
    assert gone.key == GONE and gone.severity is Severity.WARNING and gone.state is None
    answer = proposed(Cluster(1), memory)
    assert isinstance(answer, Proposal) and "nothing shows that kube-vip is missed" in answer.asks
    for seconds, forgotten in ((0.0, False), (MEANT.total_seconds() - 1, False), (MEANT.total_seconds(), True)):
        after, sights = looked(Cluster(1, now=NOW + timedelta(seconds=seconds)), memory, sights)
        assert ("kube-vip" not in after.manifests["cp1"]) is forgotten
    assert not found(Cluster(1).address_answers(EndpointHealth.TIMEOUT), after)


def test_one_that_goes_with_the_address_is_put_back_unasked() -> None:
    cluster = Cluster(1).address_answers(EndpointHealth.TIMEOUT)
    (gone,) = found(cluster, known())
    assert gone.severity is Severity.FAULT and gone.state is State.APISERVER_DOWN
    answer = proposed(cluster, known())
    assert isinstance(answer, Proposal) and answer.asks == ""
    assert {code for code, _ in answer.resolves} == {Code.OTHER_MANIFEST_MISSING, Code.VIP_WRONG}
    (step,) = answer.steps
    assert isinstance(step.operation, WriteFile) and (step.operation.content, step.operation.before) == (MANIFEST, "")


def test_one_that_stands_on_other_control_planes_is_put_back_unasked() -> None:
    memory, cluster = known(3, "cp1", "cp2"), given(Cluster(3), "cp2")
    (gone,) = found(cluster, memory)
    assert gone.key == GONE and gone.severity is Severity.FAULT and "cp2 still" in gone.message
    answer = proposed(cluster, memory)
    assert isinstance(answer, Proposal) and answer.asks == ""


@pytest.mark.parametrize(
    "how, why",
    [
        (
            lambda c: given(
                c, "cp1", view=manifest_of("haproxy", MANIFEST.replace("kube-vip", "haproxy")), key="haproxy"
            ),
            "haproxy is new beside it",
        ),
        (lambda c: c.manifest("cp2", "kube-scheduler", None), "2 manifests are gone at once"),
        (lambda c: c.manifest("cp2", "kube-vip", None), "2 manifests are gone at once"),
    ],
)
def test_what_speaks_for_purpose_asks(how: Callable[[Cluster], Cluster], why: str) -> None:
    memory = known(3, "cp1", "cp2", "cp3")
    answer = proposed(how(given(Cluster(3), "cp2", "cp3")), memory)
    assert isinstance(answer, Proposal) and why in answer.asks


@pytest.mark.parametrize("gone, dead, asks", [(3600, 0, True), (3600, 30, True), (3600, 3550, False), (100, 0, False)])
def test_one_that_went_long_before_the_address_did_asks(gone: int, dead: int, asks: bool) -> None:
    memory, cluster = known(3, "cp1", "cp2"), given(Cluster(3), "cp2")
    since = {GONE: NOW - timedelta(seconds=gone)}
    if dead:
        cluster.address_answers(EndpointHealth.TIMEOUT)
        since[Code.VIP_WRONG, ""] = NOW - timedelta(seconds=dead)
    answer = proposed(cluster, memory, since)
    assert isinstance(answer, Proposal) and ("on purpose" in answer.asks) is asks, answer.asks


def test_a_person_who_rejects_it_has_said_that_it_is_gone_on_purpose() -> None:
    memory = known(3, "cp1", "cp2")
    after = without(memory, [GONE, (Code.MANIFEST_MISSING, "cp1")])
    assert not found(given(Cluster(3), "cp2"), after)
    assert after.manifests["cp2"] == memory.manifests["cp2"] and len(after.manifests["cp1"]) == 4
    assert without(memory, [(Code.OTHER_MANIFEST_INVALID, "cp1/kube-vip")]) is memory


def test_another_name_of_the_same_pod_is_not_gone() -> None:
    renamed = replace(VIP, path="/etc/kubernetes/manifests/kube-vip.yml")
    cluster = given(Cluster(1), "cp1", view=renamed, key="kube-vip.yml").address_answers(EndpointHealth.TIMEOUT)
    assert not found(cluster, known())
    after, _ = looked(given(Cluster(1), "cp1", view=renamed, key="kube-vip.yml"), known())
    assert after.manifests["cp1"].keys() & {"kube-vip", "kube-vip.yml"} == {"kube-vip.yml"}
    three = given(Cluster(3), "cp1", view=renamed, key="kube-vip.yml").manifest("cp2", "etcd", None)
    scene = Scene(three.observation(), known(3, "cp1"), three.settings)
    assert at_work("cp1", scene) == ""  # one manifest is away, and not two


@pytest.mark.parametrize("problem", ["not YAML: mapping values", "a Pod without whole containers (cut short?)"])
def test_a_damaged_one_is_put_back_unasked_though_the_address_answers(problem: str) -> None:
    damaged = manifest_of("kube-vip", "kind: Pod\nspec", problem)
    cluster = Cluster(1).manifest("cp1", "kube-vip", damaged)
    (bad,) = found(cluster, known())
    assert bad.key == (Code.OTHER_MANIFEST_INVALID, "cp1/kube-vip") and bad.severity is Severity.FAULT
    answer = proposed(cluster, known())
    assert isinstance(answer, Proposal) and answer.asks == ""
    assert isinstance(answer.steps[0].operation, WriteFile)
    assert answer.steps[0].operation.before == damaged.sha256


def test_an_empty_one_is_as_one_that_is_gone() -> None:
    (gone,) = found(Cluster(1).manifest("cp1", "kube-vip", manifest_of("kube-vip", "", "empty")), known())
    assert gone.key == GONE and gone.severity is Severity.WARNING


def test_a_file_that_never_worked_says_nothing() -> None:
    notes = manifest_of("README", "see the wiki", "not a Pod")
    after, _ = looked(given(Cluster(1), "cp1", view=notes, key="README"), Cluster(1).memory())
    assert "README" not in after.manifests["cp1"]
    assert not found(Cluster(1).manifest("cp1", "README", notes), after)


def test_an_api_server_does_not_wait_for_what_only_a_person_can_put_back() -> None:
    memory = known(view=replace(manifest_of("keepalived", KEEPALIVED), modified_at=LONG), key="keepalived")
    answer = proposed(Cluster(1).manifest("cp1", "kube-apiserver", None).api_down(), memory)
    assert isinstance(answer, Proposal)
    assert answer.basis == ((Code.MANIFEST_MISSING, "cp1"),) and len(answer.steps) == 3


def test_it_is_gone_no_more_when_the_directory_was_read() -> None:
    cluster = Cluster(1).host("cp1", problems=("the manifests could not be listed or read: /etc/kubernetes/manifests",))
    assert not found(cluster, known())
    seen = cluster.observation()
    assert "could not be read" in doubt([GONE], diagnose(seen, known(), cluster.settings), seen)
