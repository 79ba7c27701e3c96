"""Files of a node: which are known-good, and how they are put back."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.memory.files import known_files
from recoverd.model.catalogue import Code
from recoverd.model.file_operations import HostsLine
from recoverd.model.finding import Finding
from recoverd.model.memory import KnownFile, Memory
from recoverd.model.network import AgentView, NetworkView
from recoverd.model.node_look import CNI_DIR, HOSTS, FileView, NodeLook
from recoverd.model.node_operations import AwaitNodeReady, RestartDaemonPods
from recoverd.model.observation import HostView
from recoverd.model.operations import MovePath, Shell, WriteFile
from recoverd.model.unit_operations import AwaitUnit, RestartUnit
from recoverd.playbooks.base import Proposal, Refusal, Situation
from tests.unit.builders import NOW, Cluster
from tests.unit.rungs import ask, failed, fault, proposal, situation
from tests.unit.test_not_ready import LINE, WELL

NAME = "restore-node-files"
FLAGS, RUNTIME, CNI = "/var/lib/kubelet/kubeadm-flags.env", "/etc/containerd/config.toml", f"{CNI_DIR}/10-lab.conflist"
DROP_IN = "/etc/systemd/system/kubelet.service.d/20-mine.conf"
GOOD = {FLAGS: 'KUBELET_KUBEADM_ARGS="--a=1"\n', RUNTIME: "disabled_plugins = []\n", CNI: "{}\n"}
HOUR = timedelta(hours=1)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def files(ago: timedelta = 30 * HOUR, **changed: str) -> dict[str, FileView]:
    return {path: FileView(sha(text), text, NOW - ago) for path, text in {**GOOD, **changed}.items()}


def learnt(look: NodeLook, memory: Memory | None = None, **host: Any) -> Memory:
    cluster = Cluster(1, 2).host("w1", node=look, **host)
    memory = memory or cluster.memory()
    found, texts = known_files(replace(situation(cluster), memory=memory).scene)
    return replace(memory, files=found, texts=texts)


KNOWN = learnt(replace(WELL, files=files(ago=timedelta(days=4))))


def test_what_its_reader_was_started_with_is_known() -> None:
    assert {p: KNOWN.known_file("w1", p) for p in KNOWN.files["w1"]} == {**GOOD, HOSTS: f"{LINE}\n"}
    assert learnt(replace(WELL, files=files(ago=timedelta(days=4))), KNOWN).files is KNOWN.files, (
        "nothing new is no write"
    )


def test_an_edit_is_known_only_when_it_was_started_with() -> None:
    edited = files(ago=2 * HOUR, **{FLAGS: "--b\n", CNI: "{ }\n"})
    after = learnt(replace(WELL, files=edited), KNOWN)
    assert after.known_file("w1", FLAGS) == GOOD[FLAGS]
    assert after.known_file("w1", CNI) == "{ }\n", "a runtime reads it at once"
    cluster = Cluster(1, 2).unit("w1", "kubelet", since=NOW - HOUR)
    assert (
        learnt(replace(WELL, files=edited), after, units=cluster._seen("w1").units).known_file("w1", FLAGS) == "--b\n"
    )


@pytest.mark.parametrize(
    "look", [replace(WELL, reaches=False), replace(WELL, addresses=("10.0.0.9",)), replace(WELL, hosts=())]
)
def test_a_line_by_which_nothing_was_reached_is_not_known(look: NodeLook) -> None:
    assert HOSTS not in learnt(look).files.get("w1", {})


def test_what_was_only_just_started_proves_nothing() -> None:
    """Seen on the lab: containerd was started without its CRI plugin, and for as long as the node was still
    called Ready that counted as good.
    """
    edited = replace(WELL, files=files(ago=timedelta(seconds=30), **{RUNTIME: 'disabled_plugins = ["cri"]\n'}))
    for unit in ("containerd", "kubelet"):
        cluster = (
            Cluster(1, 2)
            .unit("w1", "containerd", since=NOW - timedelta(seconds=100))
            .unit("w1", unit, since=NOW - timedelta(seconds=20))
        )
        assert learnt(edited, KNOWN, units=cluster._seen("w1").units).known_file("w1", RUNTIME) == GOOD[RUNTIME]


def test_of_a_node_that_is_not_ready_nothing_is_learnt() -> None:
    cluster = Cluster(1, 2).node("w1", ready=False).host("w1", node=replace(WELL, files=files()))
    assert "w1" not in known_files(replace(situation(cluster), memory=Memory()).scene)[0]


def now(
    *found: Finding, look: NodeLook | None = None, agents: tuple[AgentView, ...] = (), workers: int = 2, **unit: Any
) -> Situation:
    cluster = Cluster(1, workers)
    for finding in found:
        cluster.host(finding.subject, node=look or WELL)
    if unit:
        cluster.unit("w1", "kubelet", **unit)
    memory = replace(KNOWN, files={f.subject: KNOWN.files["w1"] for f in found})
    made = situation(cluster, *found)
    return replace(
        made, memory=memory, observation=replace(made.observation, network=NetworkView(1, {}, {}, agents=agents))
    )


CUT = fault(Code.NODE_CUT_OFF, "w1")
NAMELESS = replace(WELL, addresses=(), reaches=False, hosts=())


def test_a_name_that_is_lost_is_put_back_unasked_and_on_all_nodes_by_one_plan() -> None:
    steps = proposal(NAME, now(CUT, look=NAMELESS)).steps
    assert [s.operation for s in steps] == [HostsLine(LINE), AwaitNodeReady("w1")]
    assert not proposal(NAME, now(CUT, look=NAMELESS)).asks
    all_three = [fault(Code.NODE_CUT_OFF, n) for n in ("w1", "w2", "w3")]
    plan = proposal(NAME, now(*all_three, look=NAMELESS, workers=3))
    assert [s.host for s in plan.steps] == ["w1", "w2", "w3"] * 2


def test_a_way_that_is_barred_is_refused() -> None:
    answer = ask(NAME, now(CUT, look=replace(WELL, reaches=False)))
    assert isinstance(answer, Refusal) and "firewall" in answer.reason


def test_a_name_that_never_came_from_the_file_is_refused_with_where_to_look() -> None:
    before = now(CUT, look=NAMELESS)
    answer = ask(NAME, replace(before, memory=Memory()))
    assert isinstance(answer, Refusal) and "resolv.conf" in answer.reason


def test_it_is_not_tried_twice() -> None:
    answer = ask(NAME, replace(now(CUT, look=NAMELESS), declined=(failed(NAME, CUT),)))
    assert isinstance(answer, Refusal) and "did not help" in answer.reason


def test_cni_files_come_from_their_agent_where_there_is_one() -> None:
    missing = fault(Code.CNI_CONFIG_MISSING, "w1")
    steps = proposal(NAME, now(missing, look=replace(WELL, cni=()))).steps
    assert (
        isinstance(steps[0].operation, WriteFile) and steps[0].operation.path == CNI and steps[0].operation.before == ""
    )
    agent = AgentView("w1", "cni", "kube-flannel/ds", "ds-1", True, "Running", True)
    steps = proposal(NAME, now(missing, look=replace(WELL, cni=()), agents=(agent,))).steps
    assert isinstance(steps[0].operation, RestartDaemonPods)


DOWN = fault(Code.WORKER_KUBELET_DOWN, "w1")
FALLING = {"active": "activating", "sub": "auto-restart", "result": "exit-code", "restarts": 7}


def test_a_file_that_was_changed_before_its_reader_failed_is_put_back_when_a_person_says_so() -> None:
    changed = files(ago=timedelta(minutes=5), **{FLAGS: 'KUBELET_KUBEADM_ARGS="--gone --a=1"\n'})
    plan = proposal(NAME, now(DOWN, look=replace(WELL, files=changed), **FALLING))
    assert plan.asks and any("--gone" in line for line in plan.evidence)
    write, *others = [s.operation for s in plan.steps]
    assert (
        isinstance(write, WriteFile)
        and write.content == GOOD[FLAGS]
        and write.before == changed[FLAGS].sha256
        and write.keep
    )
    assert others == [RestartUnit("kubelet"), AwaitUnit("kubelet", 5, 40)]


def test_a_runtime_is_started_anew_before_kubelet_where_its_own_file_was_changed() -> None:
    changed = files(ago=timedelta(minutes=5), **{RUNTIME: 'disabled_plugins = ["cri"]\n'})
    plan = proposal(NAME, now(DOWN, look=replace(WELL, files=changed), **FALLING))
    assert [s.operation for s in plan.steps[1:3]] == [RestartUnit("containerd"), RestartUnit("kubelet")]


def test_a_drop_in_of_the_runtimes_unit_is_read_by_the_runtime() -> None:
    """That of a proxy, as a wrong one in it: it was neither remembered nor shown."""
    path = "/etc/systemd/system/containerd.service.d/http-proxy.conf"
    added = {**files(), path: FileView(sha("x"), "x", NOW + timedelta(minutes=1))}
    plan = proposal(NAME, now(DOWN, look=replace(WELL, files=added), **FALLING))
    move, reload, *others = [s.operation for s in plan.steps]
    assert isinstance(move, MovePath) and move.source == path
    assert isinstance(reload, Shell) and "daemon-reload" in reload.script
    assert others == [RestartUnit("containerd"), RestartUnit("kubelet"), AwaitUnit("kubelet", 5, 40)]


def test_a_drop_in_of_kubelets_configuration_is_put_back_and_one_that_came_since_moved_away() -> None:
    """Wherever --config-dir leads; kubelet reads them at its start, and systemd has nothing to read anew."""
    parts = "/etc/kubelet.d"
    known, added = f"{parts}/10-site.conf", f"{parts}/20-new.conf"
    old = timedelta(days=4)
    before = learnt(replace(WELL, parts=parts, files={**files(old), known: FileView(sha("a"), "a", NOW - old)}))
    there = {**files(), known: FileView(sha("b"), "b", NOW), added: FileView(sha("c"), "c", NOW + HOUR / 60)}
    made = now(DOWN, look=replace(WELL, parts=parts, files=there), **FALLING)
    plan = proposal(NAME, replace(made, memory=replace(made.memory, files=before.files, texts=before.texts)))
    write, move, *others = [s.operation for s in plan.steps]
    assert isinstance(write, WriteFile) and (write.path, write.content) == (known, "a")
    assert isinstance(move, MovePath) and move.source == added
    assert others == [RestartUnit("kubelet"), AwaitUnit("kubelet", 5, 40)] and plan.asks


def test_files_of_one_name_are_kept_apart() -> None:
    """A distribution's 10-proxy.conf for kubelet and for its runtime: the second was refused in the middle of the plan,
    since the copy of the first was in its place.
    """
    at = ("/etc/systemd/system/kubelet.service.d", "/etc/systemd/system/containerd.service.d", "/etc/kubelet.d/site")
    look = replace(WELL, parts="/etc/kubelet.d")
    new = {f"{d}/10-proxy.conf": FileView(sha("b"), "b", NOW + HOUR / 60) for d in at}
    changed = f"{at[0]}/10-kubeadm.conf"
    old = timedelta(days=4)
    before = learnt(replace(look, files={**files(old), changed: FileView(sha("a"), "a", NOW - old)}))
    there = {**files(), **new, changed: FileView(sha("b"), "b", NOW)}
    made = now(DOWN, look=replace(look, files=there), **FALLING)
    plan = proposal(NAME, replace(made, memory=replace(made.memory, files=before.files, texts=before.texts)))
    writes = [s.operation for s in plan.steps if isinstance(s.operation, WriteFile)]
    moves = [s.operation for s in plan.steps if isinstance(s.operation, MovePath)]
    assert [w.path for w in writes] == [changed] and [m.source for m in moves] == list(new)
    assert len({writes[0].keep, *(m.target for m in moves)}) == 4


def test_what_is_on_a_disk_that_is_not_mounted_is_not_written_beneath_it() -> None:
    """Its files are gone, and were to be written where the disk then hides them."""
    gone = {path: file for path, file in files().items() if path != FLAGS}
    made = now(DOWN, look=replace(WELL, files=gone), **FALLING)
    assert isinstance(ask(NAME, made), Proposal)
    view = made.observation.hosts["w1"]
    assert isinstance(view, HostView)
    hosts = {**made.observation.hosts, "w1": replace(view, unmounted=("/var/lib/kubelet",))}
    answer = ask(NAME, replace(made, observation=replace(made.observation, hosts=hosts)))
    assert isinstance(answer, Refusal) and "`mount /var/lib/kubelet`" in answer.reason


def test_a_drop_in_for_which_systemd_refuses_the_unit_is_moved_away_and_nothing_else_is_tried() -> None:
    """As one with a second ExecStart=: the unit was called off on purpose, and its unmasking was advised."""
    added = {**files(), DROP_IN: FileView(sha("x"), "x", NOW + timedelta(minutes=1))}
    refused: dict[str, Any] = {"load": "bad-setting", "active": "inactive", "sub": "dead", "result": "success"}
    made = now(DOWN, look=replace(WELL, files=added), **refused)
    plan = proposal(NAME, made)
    move, reload, *_ = [s.operation for s in plan.steps]
    assert isinstance(move, MovePath) and move.source == DROP_IN and isinstance(reload, Shell) and plan.asks
    for name in ("start-node-services", "restart-node-agents", "rolling-worker-reboot"):
        answer = ask(name, made)
        assert not isinstance(answer, Proposal)
        if isinstance(answer, Refusal):
            assert "systemd-analyze verify kubelet.service" in answer.reason and "unmask" not in answer.reason
    assert isinstance(ask("start-node-services", made), Refusal)


def test_a_drop_in_that_came_since_is_moved_away() -> None:
    added = {**files(), DROP_IN: FileView(sha("x"), "x", NOW + timedelta(minutes=1))}
    plan = proposal(NAME, now(DOWN, look=replace(WELL, files=added), **FALLING))
    move, reload, *_ = [s.operation for s in plan.steps]
    assert (
        isinstance(move, MovePath)
        and move.source == DROP_IN
        and isinstance(reload, Shell)
        and "daemon-reload" in reload.script
    )


@pytest.mark.parametrize(
    ("look", "unit"),
    [
        pytest.param(replace(WELL, files=files()), FALLING, id="nothing differs"),
        pytest.param(
            replace(WELL, files=files(**{FLAGS: "x"})), {"active": "inactive", "sub": "dead"}, id="it was only stopped"
        ),
    ],
)
def test_where_no_file_explains_it_others_are_asked(look: NodeLook, unit: dict[str, Any]) -> None:
    assert ask(NAME, now(DOWN, look=look, **unit)) is None


def test_what_is_cut_off_is_neither_restarted_nor_rebooted() -> None:
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        answer = ask(name, now(CUT, look=NAMELESS))
        assert not isinstance(answer, Proposal)


def test_known_files_share_their_texts() -> None:
    cluster = (
        Cluster(1, 2)
        .host("w1", node=replace(WELL, files=files(ago=timedelta(days=4))))
        .host("w2", node=replace(WELL, files=files(ago=timedelta(days=4))))
    )
    found, texts = known_files(replace(situation(cluster), memory=Memory()).scene)
    assert len(texts) == 4 and {k.sha256 for n in ("w1", "w2") for k in found[n].values()} == set(texts)
    assert KnownFile(sha(GOOD[CNI]), NOW) == found["w2"][CNI]
