"""A kubelet that runs and makes no sandbox: what is put back for it, and what a person is told to do instead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.cause import NO_ADDRESS, NO_RESOLV_CONF, NO_SANDBOX_IMAGE
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.file_operations import PutResolvConf
from recoverd.model.finding import Finding
from recoverd.model.memory import KnownFile, Memory
from recoverd.model.node_look import FileView
from recoverd.model.operations import WriteFile
from recoverd.model.unit_operations import AwaitUnit, RestartUnit
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from tests.unit.builders import NOW, Cluster
from tests.unit.rungs import ask, failed, fault, situation
from tests.unit.test_node_files import KNOWN, NAME, RUNTIME, files, learnt, sha
from tests.unit.test_not_ready import WELL

RESOLV, CONFIG = "/run/systemd/resolve/resolv.conf", "/var/lib/kubelet/config.yaml"
NAMES, OLD, NEW = "nameserver 10.0.0.2\n", "k8s.gcr.io/pause:3.2", "k8s.gcr.io/pause:3.9"
GOOD = {RESOLV: NAMES, CONFIG: f"resolvConf: {RESOLV}\n", RUNTIME: f'sandbox_image = "{OLD}"\n'}
LOOK = replace(WELL, resolv=RESOLV)


def there(**changed: str) -> dict[str, FileView]:
    """By file; "" for one that is gone."""
    paths = {"resolv": RESOLV, "config": CONFIG, "runtime": RUNTIME}
    found = {**GOOD, **{paths[k]: v for k, v in changed.items()}}
    return {p: FileView(sha(t), t, NOW - timedelta(days=4)) for p, t in found.items() if t}


def known(host: str = "w1", **changed: str) -> Memory:
    good = {p: f.content for p, f in there(**changed).items()}
    return replace(
        Cluster(1, 2).memory(),
        files={host: {p: KnownFile(sha(t), NOW) for p, t in good.items()}},
        texts={sha(t): t for t in good.values()},
    )


def stuck(cause: str, named: str) -> Finding:
    made = fault(Code.PODS_DO_NOT_START, "w1", WaitingFacts, cause=cause, named=named)
    return replace(made, message=f"{made.message}. Why: x. Cure: `cure {named}`.")


NO_RESOLV, NO_IMAGE = stuck(NO_RESOLV_CONF, RESOLV), stuck(NO_SANDBOX_IMAGE, NEW)


def now(finding: Finding, memory: Memory, seen: dict[str, FileView], **more: Any) -> Situation:
    cluster = Cluster(1, 2).host("w1", node=replace(LOOK, files=seen))
    return replace(situation(cluster, finding), memory=memory, **more)


def proposed(finding: Finding, memory: Memory, seen: dict[str, FileView]) -> Proposal:
    made = ask(NAME, now(finding, memory, seen))
    assert isinstance(made, Proposal), made
    return made


def test_a_resolv_conf_that_is_gone_is_put_back_unasked() -> None:
    plan = proposed(NO_RESOLV, known(), there(resolv=""))
    assert [s.operation for s in plan.steps] == [PutResolvConf(RESOLV, NAMES, sha(NAMES))]
    assert not plan.asks and "next boot" in plan.undo[0] and any(NAMES.strip() in line for line in plan.evidence)


def test_a_configuration_that_names_another_file_goes_back_when_a_person_says_so() -> None:
    before = known(config="resolvConf: /etc/resolv.conf\n", resolv="")
    plan = proposed(NO_RESOLV, before, there(resolv=""))
    write, *rest = [s.operation for s in plan.steps]
    assert isinstance(write, WriteFile) and (write.path, write.content) == (CONFIG, "resolvConf: /etc/resolv.conf\n")
    assert write.keep and rest == [RestartUnit("kubelet"), AwaitUnit("kubelet", 5, 40)]
    assert "changed" in plan.asks and any(RESOLV in line for line in plan.evidence)


def test_a_runtime_that_names_another_image_gets_its_configuration_back_when_a_person_says_so() -> None:
    plan = proposed(NO_IMAGE, known(), there(runtime=f'sandbox_image = "{NEW}"\n'))
    write, *rest = [s.operation for s in plan.steps]
    assert isinstance(write, WriteFile) and (write.path, write.content) == (RUNTIME, GOOD[RUNTIME])
    assert rest == [RestartUnit("containerd"), AwaitUnit("kubelet", 5, 40)] and plan.asks


@pytest.mark.parametrize(
    ("finding", "memory", "seen"),
    [
        (NO_RESOLV, Memory(), there(resolv="")),
        (NO_IMAGE, known(), there()),
        (NO_IMAGE, known(), there(runtime=f'x = 1\nsandbox_image = "{OLD}"\n')),
        (NO_IMAGE, known(runtime=f'sandbox_image = "{NEW}" # as ever\n'), there(runtime=f'sandbox_image = "{NEW}"\n')),
    ],
    ids=["nothing known", "the image was collected", "another change", "the image was named before"],
)
def test_what_no_remembered_file_cures_is_told_with_its_command(
    finding: Finding, memory: Memory, seen: dict[str, FileView]
) -> None:
    answer = ask(NAME, now(finding, memory, seen))
    assert isinstance(answer, Refusal) and f"`cure {finding.facts.named}`" in answer.reason  # type: ignore[attr-defined]


def test_what_is_there_again_is_waited_for_and_what_did_not_help_is_not_tried_twice() -> None:
    assert isinstance(ask(NAME, now(NO_RESOLV, known(), there())), Wait)
    again = ask(NAME, now(NO_RESOLV, known(), there(resolv=""), declined=(failed(NAME, NO_RESOLV),)))
    assert isinstance(again, Refusal) and "did not help" in again.reason
    unseen = situation(Cluster(1, 2), NO_RESOLV)
    assert isinstance(ask(NAME, replace(unseen, memory=known())), Wait)


def test_another_cause_is_none_of_its_business() -> None:
    assert ask(NAME, now(stuck(NO_ADDRESS, "10.0.0.0/24"), known(), there(resolv=""))) is None


def control_planes(*names: str) -> Situation:
    cluster = Cluster(3)
    said = f"Failed to generate sandbox config for pod etcd: open {RESOLV}: no such file or directory"
    memory = cluster.memory()
    for name in names:
        cluster.etcd_stopped(name).container(name, "kube-apiserver", running=False).api_down(name)
        cluster.host(name, journals={"kubelet": (said,)}, node=replace(LOOK, files=there(resolv="")))
        memory = replace(memory, files={**memory.files, **known(name).files}, texts=known().texts)
    seen = cluster.observation()
    found = diagnose(seen, memory, cluster.settings)
    return Situation(NOW, "prod-1", cluster.settings, seen, found, memory, found.faults)


def stuck_on(now: Situation) -> Answer:
    return ask(NAME, now, next(f for f in now.confirmed if f.code == Code.STATIC_PODS_STUCK))


def test_on_a_control_plane_as_well() -> None:
    made = stuck_on(control_planes("cp2"))
    assert isinstance(made, Proposal) and not made.asks
    assert isinstance(made.steps[0].operation, PutResolvConf)


def test_it_is_known_once_it_has_stood_and_is_not_forgotten_by_a_kubelet_that_starts_without_it() -> None:
    seen = replace(LOOK, files={**files(ago=timedelta(days=4)), RESOLV: FileView(sha(NAMES), NAMES, NOW)})
    assert RESOLV not in learnt(seen).files["w1"], "it was only just written"
    old = replace(seen, files={**seen.files, RESOLV: FileView(sha(NAMES), NAMES, NOW - timedelta(hours=1))})
    before = learnt(old)
    assert before.known_file("w1", RESOLV) == NAMES
    earlier = {p: replace(k, recorded_at=NOW - timedelta(hours=2)) for p, k in before.files["w1"].items()}
    since = replace(before, files={"w1": {**earlier, "/etc/default/kubelet": earlier[RESOLV]}})
    units = Cluster(1, 2).unit("w1", "kubelet", since=NOW - timedelta(hours=1))._seen("w1").units
    after = learnt(replace(LOOK, files=files()), since, units=units).files["w1"]
    assert RESOLV in after and "/etc/default/kubelet" not in after
    assert KNOWN.files["w1"].keys() <= before.files["w1"].keys()


def test_that_it_changes_stops_no_unit() -> None:
    """It is written by DHCP and by resolved, and is not what a kubelet that ends itself goes by."""
    down = fault(Code.WORKER_KUBELET_DOWN, "w1")
    cluster = Cluster(1, 2).unit("w1", "kubelet", active="activating", sub="auto-restart", restarts=7)
    cluster.host("w1", node=replace(LOOK, files=there(resolv="nameserver 10.0.0.9\n")))
    assert ask(NAME, replace(situation(cluster, down), memory=known())) is None
