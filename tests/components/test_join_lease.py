"""Taking a join back under the lease, over real sshd: once another bastion acts, none of its scripts
changes anything, on either machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.act.join_back import TakeBackRunner
from recoverd.clients.hosts import HostPool
from recoverd.clients.lease import Bastion, LeaseKeeper
from recoverd.model.etcd import EtcdView, MemberEntry
from recoverd.model.join_operations import JOB, MARK, TakeBackJoin
from recoverd.model.lease import HostLease
from recoverd.model.plan import StepResult
from tests.unit.builders import Cluster

from .conftest import Sshd

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
LABEL, ADDRESS = "cp2-20260305T191000Z", "10.99.1.12"
KUBECTL = '#!/bin/sh\necho "$*" >>HOME/kubectl.log\n'


class Moved(HostPool):
    """What a machine keeps is in a directory of the test's own, and so is the lease of the source."""

    home: Path

    async def run(self, host: str, script: str | Callable[[], str], **how: Any) -> Any:
        text = script if isinstance(script, str) else script()
        own = text.replace(JOB, f"{self.home}/job").replace(MARK.rsplit("/", 1)[0], f"{self.home}/lib")
        own = own.replace("/run/recoverd-lease", f"{self.home}/lease").replace(
            "/etc/kubernetes", f"{self.home}/kubernetes"
        )
        return await super().run(host, own, **how)


@dataclass
class Site:
    """cp1, whose etcd answers what the test says, and cp2, on which the join was begun; both are this machine."""

    home: Path
    pool: Moved
    keeper: LeaseKeeper
    members: tuple[MemberEntry, ...] = ()
    on_look: Callable[[], None] = lambda: None
    removed: list[str] = field(default_factory=list)

    def leased(self, to: str) -> None:
        (self.home / "lease").mkdir(exist_ok=True)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        (self.home / "lease/lease").write_text(f"{to} 7 {int(uptime) + 60} bastion-{to} p\n")

    async def standing(self, timeout: float) -> EtcdView:  # noqa: ASYNC109
        self.on_look()
        return replace(Cluster(1).etcd_view("cp1"), members=self.members)

    async def remove(self, member: str, **how: Any) -> None:
        self.removed.append(member)

    async def take_back(self) -> StepResult:
        async def ready(until: float) -> StepResult:
            raise AssertionError("it does not come so far")

        operation = TakeBackJoin(LABEL, "cp1", "cp2", ADDRESS, 1)
        return await TakeBackRunner(
            operation, self.pool, self, ready, asyncio.get_running_loop().time() + 100
        ).perform()  # type: ignore[arg-type]

    def touched(self) -> list[str]:
        """What was done on either machine."""
        done = [n for n in ("lib/joining.stopped", "kubernetes/recoverd") if (self.home / n).exists()]
        gone = [] if (self.home / "kubernetes/manifests/etcd.yaml").exists() else ["etcd's manifest is gone"]
        log = self.home / "kubectl.log"
        return [*done, *gone, *(log.read_text().splitlines() if log.exists() else [])]


@pytest.fixture
async def site(start_sshd: Callable[..., Sshd], tmp_path: Path) -> AsyncIterator[Site]:
    home = tmp_path / "machine"
    for directory in ("bin", "lib", "job", "kubernetes/manifests"):
        (home / directory).mkdir(parents=True)
    (home / "bin/kubectl").write_text(KUBECTL.replace("HOME", str(home)))
    (home / "bin/kubectl").chmod(0o755)
    (home / "lib" / MARK.rsplit("/", 1)[1]).write_text(f"{LABEL}\n")
    (home / "kubernetes/manifests/etcd.yaml").write_text("kind: Pod\n")
    sshd = start_sshd(SetEnv=f"PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    pool = Moved(sshd.settings, sshd.hosts("cp1", "cp2"))
    pool.home = home
    keeper = LeaseKeeper(Bastion("aa", "bastion-aa"), lambda: 0.0)
    keeper.take({"cp1": HostLease("aa", "bastion-aa", 7, 60, mine=True)})
    pool.guard = keeper.guard
    made = Site(home, pool, keeper)
    yield made
    await pool.close()


async def test_nothing_is_taken_back_by_a_bastion_that_does_not_act_any_more(site: Site) -> None:
    site.leased("bb")
    result = await site.take_back()
    assert (
        not result.ok and "nothing was done: the recoverd on bastion-bb" in result.detail and "cp2" in result.detail
    ), result.detail
    assert site.touched() == [] and site.removed == []


async def test_one_that_loses_the_lease_in_the_middle_goes_no_further(site: Site) -> None:
    """kubeadm was ended; then another bastion takes over, and what runs on the new machine may be its doing."""
    site.leased("aa")
    site.members = (*Cluster(1).members, MemberEntry("f8d5635289df23d3", "", (f"https://{ADDRESS}:2380",), ()))
    site.on_look = lambda: site.leased("bb")
    result = await site.take_back()
    assert not result.ok and "nothing was done: the recoverd on bastion-bb" in result.detail, result.detail
    assert [d for d in site.touched() if "stopped" not in d] == [] and site.removed == []


async def test_a_source_that_cannot_be_asked_keeps_the_new_machine_from_being_touched(site: Site) -> None:
    site.leased("aa")
    run = site.pool.run

    async def silent(host: str, script: str, **how: Any) -> Any:
        if host == "cp1":
            return await HostPool.run(site.pool, "cp9", script, **how)
        return await run(host, script, **how)

    site.pool.run = silent  # type: ignore[method-assign]
    result = await site.take_back()
    assert not result.ok and "cannot be asked of cp1" in result.detail, result.detail
    assert site.touched() == []
