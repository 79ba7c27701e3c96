"""What must cost no more for each machine when there are many: by how it grows, not by how long it takes here."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import process_time

import pytest

from recoverd.clients.dial import has_aes
from recoverd.daemon import garbage
from recoverd.memory.remember import WATERMARK_EVERY, worth_writing
from recoverd.model.memory import Memory
from recoverd.observe import rounds
from recoverd.observe.pki import pki
from recoverd.observe.rounds import ProbedPod
from recoverd.observe.services import Endpoint, ServicePort
from tests.unit.builders import NOW


def round_of(count: int) -> Callable[[], object]:
    """The plan of a round of so many hosts, each with a pod of a service of its own."""
    hosts = [f"n{i:05}" for i in range(count)]
    pods = {h: [ProbedPod(h, f"10.1.0.{i % 250}:80", f"default/{h}", f"default/{h}:80")] for i, h in enumerate(hosts)}
    ready = (Endpoint("10.1.0.1:80", True),)
    ports = {f"default/{h}:80": ServicePort(f"default/{h}:80", "default", h, "", True, False, ready) for h in hosts}

    def plan() -> object:
        tried = rounds.tried(ports, ports.keys())
        return rounds.targets(hosts, pods, 1, ports, ()), [rounds.services(tried, i, 1) for i in range(count)]

    return plan


def test_a_round_costs_no_more_for_each_host_when_there_are_many() -> None:
    few, many = round_of(150), round_of(1500)

    def cost(plan: Callable[[], object]) -> float:
        began = process_time()
        plan()
        return process_time() - began

    few()
    assert min(cost(many) for _ in range(3)) < 40 * min(cost(few) for _ in range(5)), "ten times as many hosts"


def test_each_source_tries_what_is_always_tried_and_another_service_in_turn() -> None:
    ready = (Endpoint("10.1.0.1:80", True),)

    def port(key: str, endpoints: tuple[Endpoint, ...] = ready, dns: bool = False) -> ServicePort:
        return ServicePort(key, "default", key, "10.96.0.1:80", True, dns, endpoints)

    keys = [rounds.API_SERVICE, "default/a:80", "default/b:80", "default/c:80"]
    ports = {k: port(k) for k in keys} | {"kube-system/kube-dns:53": port("kube-system/kube-dns:53", dns=True)}
    ports["default/empty:80"] = port("default/empty:80", ())
    tried = rounds.tried(ports, [*ports, "default/gone:80"])
    seen = [[p.key for p in rounds.services(tried, index, 5)] for index in range(3)]
    assert all(s[:2] == [rounds.API_SERVICE, "kube-system/kube-dns:53"] for s in seen)
    assert {s[2] for s in seen} == {"default/a:80", "default/b:80", "default/c:80"}
    assert rounds.services(rounds.tried({}, ()), 0, 0) == ()


def test_that_another_service_was_reached_is_written_with_the_next_watermark_and_not_at_once() -> None:
    """Otherwise the whole memory, megabytes of a large cluster, would be written in every sweep until all were."""
    written = Memory(healthy_at=NOW, reached=("default/a:80",))
    new = Memory(healthy_at=NOW + timedelta(seconds=5), reached=("default/a:80", "default/b:80"))
    assert not worth_writing(written, new)
    assert worth_writing(written, Memory(healthy_at=NOW + timedelta(seconds=WATERMARK_EVERY), reached=new.reached))


def test_what_a_certificate_that_cannot_be_read_is_told_in_every_sweep() -> None:
    for _ in range(2):
        problems: list[str] = []
        assert pki([("cert", "/etc/kubernetes/pki/ca.crt", "no certificate")], problems)[0] == ()
        assert len(problems) == 1


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor : 0\nflags\t\t: fpu aes sse2\n", True),
        ("processor : 0\nFeatures\t: fp asimd aes pmull\n", True),
        ("processor : 0\nflags\t\t: fpu sse2 vaes_not\n", False),
        ("", False),
    ],
)
def test_a_processor_with_instructions_for_aes_is_told_by_its_flags(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_aes(tmp_path / "cpuinfo") is has
    assert has_aes(tmp_path / "nothing") is False


def test_what_the_start_has_made_is_left_alone_and_garbage_is_looked_for_seldom() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    made: list[list[object]] = [[] for _ in range(20_000)]
    try:
        garbage.settle()
        assert gc.get_freeze_count() >= frozen + len(made)
        assert gc.get_threshold() > (10_000, 10, 10)
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
