"""Two bastions on one cluster: only one acts, and a script that comes too late does nothing. The shell is
run under every sh there is here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.clients.lease import Bastion, LeaseKeeper, this_bastion
from recoverd.model.lease import Held, HeldBy, HostLease, Unknown, forbids, judged
from recoverd.model.observation import HostView
from recoverd.observe import hosts as looks
from recoverd.observe.look import parse
from recoverd.simulate.clock import EPOCH
from tests.shells import sent

from .clusters import Daemon
from .daemons import Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]


class Plane:
    """A control plane whose /run/recoverd-lease is `here`, with a clock that the test sets."""

    def __init__(self, here: Path, shell: str) -> None:
        self.run = here / "run-lease"
        self.uptime = here / "uptime"
        self._shell = [shell, *(["sh"] if shell == "busybox" else [])]
        self.at(1000.0)

    def at(self, seconds: float) -> None:
        """Seconds since the boot."""
        self.uptime.write_text(f"{seconds:.2f} 1.00\n")
        self.now = seconds

    def do(self, script: str) -> subprocess.CompletedProcess[str]:
        moved = script.replace("/run/recoverd-lease", str(self.run)).replace("/proc/uptime", str(self.uptime))
        return subprocess.run([*self._shell], input=moved, capture_output=True, text=True, check=False)

    def look(self, id: str, fence: int = 0, want: int = 1, name: str = "", process: str = "p") -> HostLease:
        asked = self.do(f"R='{id} {name or id} 60 {fence} {want} {process}'\n{looks.LEASE}\nlease $R")
        assert asked.stderr == "" and asked.returncode in (0, 1), asked
        text = f"@@ boot\nb\n@@ lease\n{asked.stdout}@@ end\n"
        view = parse(text, "@@", middle=EPOCH).view
        assert isinstance(view, HostView) and view.lease, (text, view)
        return view.lease


@pytest.fixture(params=SHELLS)
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Plane:
    return Plane(tmp_path, request.param)


def behind(keeper: LeaseKeeper) -> str:
    """A script that says `done`, behind the guard."""
    return f"{sent(keeper.guard('cp1'))}\necho done"


def keeper_of(plane: Plane, id: str) -> LeaseKeeper:
    return LeaseKeeper(Bastion(id, f"bastion-{id}"), lambda: plane.now)


def test_the_first_takes_it_and_keeps_it_and_the_second_takes_over_when_it_ran_out(plane: Plane) -> None:
    first = plane.look("aa", name="bastion-a")
    assert first.mine and first.holder == "aa" and first.left == 60 and first.fence > 1_700_000_000
    plane.at(1030)
    second = plane.look("bb", name="bastion-b")
    assert not second.mine and (second.holder, second.name, second.left, second.others) == (
        "aa",
        "bastion-a",
        30,
        ("bastion-a",),
    )
    again = plane.look("aa", first.fence)
    assert again.mine and (again.fence, again.left, again.others) == (first.fence, 60, ("bastion-b",))
    plane.at(1091)
    over = plane.look("bb")
    assert over.mine and over.fence > first.fence
    back = plane.look("aa", first.fence)
    assert not back.mine and back.holder == "bb"
    # whoever lets go of it leaves it to others at once
    assert not plane.look("bb", over.fence, want=0).mine
    assert plane.look("aa").mine


def test_another_process_of_the_same_bastion_takes_it_at_once_and_the_old_one_has_lost_it(plane: Plane) -> None:
    old = plane.look("aa", process="old")
    new = plane.look("aa", process="new")
    assert new.mine and new.fence == old.fence + 1
    assert not plane.look("aa", old.fence, process="old").mine
    assert plane.look("aa", new.fence, process="new").mine


def test_a_look_whose_answer_was_lost_has_taken_it_all_the_same(plane: Plane) -> None:
    first = plane.look("aa")
    shutil.rmtree(plane.run)
    lost = plane.look("aa", first.fence)
    again = plane.look("aa", first.fence)
    assert again.mine and again.fence == lost.fence


def test_one_whole_look_after_a_boot_takes_it_and_says_so(plane: Plane) -> None:
    """What the daemon sends, with everything else that a look asks; the number that it knows is of before the boot."""
    given = f"M=@@ D= V= I=\nR='aa a 60 17 1 p'\n{looks.LEASE}\n{looks.PIDS}\n{looks.TOOL}\n{looks.SCRIPT}"
    said = plane.do(given).stdout
    assert said.count("@@ lease\n") == 1
    view = parse(said, "@@", middle=EPOCH).view
    assert isinstance(view, HostView) and view.lease and view.lease.mine and view.lease.holder == "aa", view


def test_a_copy_of_the_bastion_takes_it_once_and_the_two_do_not_take_it_from_each_other(plane: Plane) -> None:
    """A bastion that was put back to a snapshot runs beside the one that was not switched off: the same id twice."""
    old, copy = keeper_of(plane, "aa"), keeper_of(plane, "aa")

    def sweep(keeper: LeaseKeeper) -> object:
        _, _, _, fence, want, process = keeper.asked("cp1")
        return keeper.take({"cp1": plane.look("aa", fence, int(want), process=process)})

    assert isinstance(sweep(old), Held)
    assert isinstance(sweep(copy), Held)
    for _ in range(4):
        plane.at(plane.now + 5)
        assert isinstance(sweep(old), HeldBy) and isinstance(sweep(copy), Held)
    assert plane.do(behind(old)).returncode == 3
    assert plane.do(behind(copy)).stdout == "done\n"


def test_a_boot_empties_it_and_the_number_goes_on_growing(plane: Plane) -> None:
    first = plane.look("aa")
    shutil.rmtree(plane.run)
    plane.at(20)
    again = plane.look("aa", first.fence)
    assert again.mine and again.fence >= first.fence


@pytest.mark.parametrize("content", ["", "garbage\n", "aa x y z\n", "aa 5\n"])
def test_what_makes_no_sense_is_nobodys(plane: Plane, content: str) -> None:
    plane.run.mkdir()
    (plane.run / "lease").write_text(content)
    assert plane.look("bb").mine


def test_where_nothing_can_be_written_it_is_read_all_the_same(plane: Plane) -> None:
    plane.run.write_text("a file where the directory should be")
    said = plane.look("aa")
    assert not said.mine and said.holder == "" and said.problem
    keeper = keeper_of(plane, "aa")
    lease = keeper.take({"cp1": said})
    assert isinstance(lease, Unknown) and "0 of 1" in lease.reason
    assert forbids(lease, unasked=True) == "", "a site with one bastion goes on repairing"
    assert plane.do(behind(keeper)).stdout == "done\n"


def test_a_script_of_who_lost_it_does_nothing(plane: Plane) -> None:
    a, b = keeper_of(plane, "aa"), keeper_of(plane, "bb")
    a.take({"cp1": plane.look("aa")})
    assert plane.do(behind(a)).stdout == "done\n"
    assert isinstance(b.take({"cp1": plane.look("bb")}), HeldBy)
    refused = plane.do(behind(b))
    assert (refused.returncode, refused.stdout) == (3, "") and "nothing was done: the recoverd on aa" in refused.stderr
    # a was stopped for a while
    plane.at(1070)
    b.take({"cp1": plane.look("bb", want=1)})
    late = plane.do(behind(a))
    assert (late.returncode, late.stdout) == (3, "")
    assert plane.do(behind(b)).stdout == "done\n"
    assert a.guard("w1") is None, "workers have no lease"


def test_a_lone_bastions_script_is_not_held_up_by_a_boot(plane: Plane) -> None:
    keeper = keeper_of(plane, "aa")
    keeper.take({"cp1": plane.look("aa")})
    shutil.rmtree(plane.run)
    assert plane.do(behind(keeper)).stdout == "done\n"


def test_of_two_that_hold_half_each_one_gives_way() -> None:
    a, b = LeaseKeeper(Bastion("aa", "a"), lambda: 0.0), LeaseKeeper(Bastion("bb", "b"), lambda: 0.0)
    mine, others = HostLease("aa", "a", 1, 60, mine=True), HostLease("bb", "b", 2, 60)
    assert isinstance(a.take({"cp1": mine, "cp2": others}), HeldBy) and a.asked("cp1")[4]
    theirs, own = HostLease("aa", "a", 1, 60), HostLease("bb", "b", 2, 60, mine=True)
    assert isinstance(b.take({"cp1": theirs, "cp2": own}), HeldBy) and not b.asked("cp2")[4]


def test_most_of_the_control_planes_decide_and_one_that_is_away_does_not() -> None:
    mine, free = HostLease("aa", "a", 1, 60, mine=True), HostLease()
    assert judged({"cp1": mine, "cp2": mine, "cp3": None}, ()) == Held({"cp1": 1, "cp2": 1})
    two_dead = judged({"cp1": mine, "cp2": None, "cp3": None}, ())
    assert isinstance(two_dead, Unknown) and forbids(two_dead, unasked=True) == ""
    with_another = judged({"cp1": mine, "cp2": None, "cp3": free}, ("bastion-b",))
    assert "bastion-b" in forbids(with_another, unasked=True) and forbids(with_another, unasked=False) == ""


def test_a_bastion_is_the_same_after_a_restart(tmp_path: Path) -> None:
    assert this_bastion(tmp_path) == this_bastion(tmp_path)
    (tmp_path / "other").mkdir()
    assert this_bastion(tmp_path / "other").id != this_bastion(tmp_path).id


def aged(file: Path, seconds: int) -> None:
    """As if so much of the lease's time had passed."""
    id, fence, until, *name = file.read_text().split()
    file.write_text(" ".join((id, fence, str(int(until) - seconds), *name)) + "\n")


async def test_a_second_bastion_only_looks_until_the_first_is_gone(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make()
    (tmp_path / "b").mkdir()
    first, second = run(prod), Daemon(tmp_path / "b", prod)
    try:
        first.start()
        await first.ready()
        await first.in_phase("healthy")
        second.start()
        await second.ready()
        (notice,) = await second.notices()
        assert notice.startswith(f"prod: the recoverd on {os.uname().nodename} acts on this cluster")
        assert await first.notices() == []
        assert await second.metric('recoverd_cluster_lease{cluster="prod",state="other"}') == 1
        assert await first.metric('recoverd_cluster_lease{cluster="prod",state="held"}') == 1
        assert first.process
        first.process.send_signal(signal.SIGSTOP)
        aged(prod.node.root / "run/recoverd-lease/lease", 40)
        # a fault that is repaired unasked: the second one may not yet, the first one cannot
        prod.node.unit("kubelet", "inactive")
        await second.until(second.status, lambda s: s["state"] == "apiserver-down")
        assert prod.node.asked == []
        await second.until(
            lambda: second.metric('recoverd_cluster_lease{cluster="prod",state="held"}'), lambda n: bool(n == 1), 120
        )
        await second.until(lambda: second.json("status"), lambda _: prod.node.asked == ["start kubelet"])
        first.process.send_signal(signal.SIGCONT)
        await first.until(
            lambda: first.metric('recoverd_cluster_lease{cluster="prod",state="other"}'), lambda n: bool(n == 1)
        )
        assert await first.notices()
    finally:
        if first.process:
            first.process.send_signal(signal.SIGCONT)
        second.close()
