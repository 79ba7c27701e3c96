"""What the bastion itself is asked: where the journal and the restore points are kept, and with which programs."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.act import scratch
from recoverd.act.points import SCRATCH_LOGS
from recoverd.config import ClusterConfig, Config
from recoverd.config.types import EtcdStore
from recoverd.doctor.check import About, Check
from recoverd.model.etcd import EtcdView, mib
from recoverd.store.gateway import Gateway, StoreError, below
from recoverd.store.keys import Keys

HERE = About()
ELECTION = 5.0
"""Seconds within which the bastions' etcd has a leader again after one was lost; asked for so long before it is said
that a member does not answer.
"""


async def examine_bastion(config: Config) -> list[Check]:
    """What does not depend on any cluster."""
    found = [HERE.warn("configuration", f"{path}: {text}") for path, text in config.warnings]
    found += state(config.state_dir)
    found += await shared(config.store) if config.store else []
    for directory in dict.fromkeys(c.settings.points.programs for c in config.clusters):
        try:
            programs = await scratch.find(directory)
        except scratch.Unable as unable:
            found.append(HERE.warn("programs", f"restore points are not verified: {unable}", "install them"))
        else:
            found.append(HERE.ok("programs", f"{programs.etcd} and {programs.restorer}, {programs.version}"))
    return found


def state(directory: Path) -> list[Check]:
    """Whether the journal can be written there, by whoever runs this; it is not tried."""
    who = _who()
    owner = "make it with recoverd's user as its owner, mode 0700; the unit does (StateDirectory=recoverd)"
    if not directory.is_dir():
        above = next(p for p in directory.parents if p.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return [HERE.ok("state", f"{directory} is not there yet; {who} can make it")]
        return [HERE.fail("state", f"{directory} is not there, and {who} cannot make it", owner)]
    if not os.access(directory, os.W_OK | os.X_OK):
        return [HERE.fail("state", f"{who} cannot write in {directory}", owner)]
    return [HERE.ok("state", f"{who} can write in {directory}")]


async def shared(store: EtcdStore) -> list[Check]:
    """Whether the bastions' etcd answers with a quorum, each of its members alone."""
    found = []
    for endpoint in store.endpoints:
        kv = Gateway(replace(store, endpoints=(endpoint,)))
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(StoreError),
                stop=stop_after_delay(ELECTION),
                wait=wait_fixed(0.5),
                reraise=True,
            ):
                with attempt:
                    (living,) = (await kv.txn((), [below(Keys(store.prefix).bastions)])).found
        except StoreError as error:
            cure = "systemctl status etcd there; its certificate has to name this address, and this bastion's its CA"
            found.append(HERE.fail("store", str(error), cure))
        else:
            names = ", ".join(row.key.rpartition("/")[2] for row in living) or "none yet"
            found.append(HERE.ok("store", f"{endpoint} answers with a quorum; bastions that live: {names}"))
        finally:
            await kv.close()
    return found


def room(config: Config, cluster: ClusterConfig, members: Sequence[EtcdView]) -> list[Check]:
    """Whether one more restore point of the cluster has room, by the largest database of its members."""
    points, about = cluster.settings.points, About(cluster.settings.name)
    if not (points.interval or points.before_plans) or cluster.settings.observes:
        return []
    at = config.state_dir / points.directory
    free = shutil.disk_usage(next(p for p in (at, *at.parents) if p.exists())).free
    largest = max((m.db_size for m in members), default=0)
    need = 2 * largest + SCRATCH_LOGS + points.min_free
    detail = f"{mib(free)} free for restore points in {at}; one more and its check take {mib(need)}"
    if free < need:
        return [about.warn("bastion's room", detail, "make room, or set restore_points (directory, keep, min_free)")]
    return [about.ok("bastion's room", detail)]


async def versions(cluster: ClusterConfig, members: Sequence[EtcdView]) -> list[Check]:
    """Whether the bastion's etcd is new enough to check a snapshot of the cluster's."""
    about = About(cluster.settings.name)
    newest = max((m.version for m in members), key=_minor, default="")
    try:
        programs = await scratch.find(cluster.settings.points.programs)
    except scratch.Unable:
        return []  # which is told of the bastion
    if not newest:
        return []
    detail = f"etcd {newest} in the cluster, {programs.version} on the bastion"
    if _minor(programs.version) < _minor(newest):
        return [about.warn("versions", f"{detail}, too old to check its snapshots", "install a newer etcd here")]
    return [about.ok("versions", detail)]


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def _who() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
