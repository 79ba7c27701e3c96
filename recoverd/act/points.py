"""Takes restore points, one at a time: fetched, checked, written through, verified by restoring
them, and the surplus removed.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from recoverd.act import point_hook, scratch
from recoverd.act.carry import hand
from recoverd.act.point_node import NodeFiles, absent, forget_keys, take_node
from recoverd.act.point_store import SCRATCH, SNAPSHOT, PointStore, write
from recoverd.act.until import left
from recoverd.clients.etcd import EtcdClient, EtcdUnseen, SnapshotInfo
from recoverd.clients.hosts import HostPool
from recoverd.model.etcd import EtcdView
from recoverd.model.plan import StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.points import PointSettings, RestorePoint, point_id, surplus
from recoverd.model.settings import ClusterSettings

T = TypeVar("T")
VIEW_SECONDS, NODE_SECONDS, FORGET_SECONDS, HOOK_SECONDS = 5.0, 60.0, 10.0, 10.0
MIB = 1 << 20
SCRATCH_LOGS = 192 * MIB
"""What a scratch etcd writes beside the database: it allocates 64 MiB for each file of its log (observed on 3.4)."""


class PointFailed(Exception):  # noqa: N818
    """No restore point came of it; the text says why, and what state that left."""


class GaveWay(PointFailed):
    """A plan needed one at once."""


@dataclass(slots=True)
class _Draft:
    """A point that is being written."""

    id: str
    sequence: int
    directory: Path
    why: str
    host: str


class PointKeeper:
    """The restore points of one cluster, in `root`. `clock` is the bastion's wall clock."""

    def __init__(
        self,
        settings: ClusterSettings,
        hosts: HostPool,
        root: Path,
        etcd: Callable[[str], EtcdClient],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = settings
        self._settings: PointSettings = settings.points
        self._hosts = hosts
        self._store = PointStore(root)
        self._etcd = etcd
        self._clock = clock
        self._turn = asyncio.Lock()
        # of its own: a directory on a file server that is away holds a thread for as long as that lasts, and all that
        # share theirs with it, the journal and the resolver of names, would wait for it
        self._disk = ThreadPoolExecutor(1, "restore-points")
        self._patient: asyncio.Task[RestorePoint] | None = None
        """The taking of a point that no plan waits for."""
        self._orphans: tuple[str, ...] = ()

    async def look(self) -> StepResult:
        """What is on the disk; removes what a crash left of a point that was never whole."""
        async with self._turn:
            try:
                return await self._on_disk(self._look)
            except OSError as error:
                root = self._store.root
                what = f"the restore points in {root} cannot be looked at: {error}"
                return StepResult(False, f"{what}. {_cure(error, root)}")

    async def take(self, operation: TakeRestorePoint, host: str, until: float, *, resume: bool = False) -> StepResult:
        """Take one from the member on `host`, by `until` in the event loop's time. One that
        is urgent ends one that is not, and is not handed on to the operator's program: a plan waits.

        `resume`: it may have been taken already, for this very plan. Only then: a journal that is begun anew gives
        plans the names of earlier ones.
        """
        result = await self._one(operation, host, until, resume=resume)
        hook, points = self._settings.hook, result.points
        if not hook or not result.ok or operation.urgent or not points:
            return result
        seconds = max(HOOK_SECONDS, left(until))
        wrong = await point_hook.run(hook, self._cluster.name, self._store.root, points[-1].id, seconds)
        more = f"IT IS ON THIS BASTION ALONE: restore_points.hook failed: {wrong}" if wrong else f"{hook} has run"
        return replace(result, detail=f"{result.detail}; {more}")

    async def _one(self, operation: TakeRestorePoint, host: str, until: float, *, resume: bool) -> StepResult:
        if operation.urgent and self._patient:
            self._patient.cancel()
        async with self._turn:
            try:
                points, problems = await self._on_disk(self._prepare)
                if resume and operation.urgent and (there := next((p for p in points if p.why == operation.why), None)):
                    return StepResult(True, f"{_told(there)}, taken before a restart", already_done=True, points=points)
                task = asyncio.create_task(self._take(operation, host, points, until), name="restore point")
                self._patient = None if operation.urgent else task
                point = await self._ended(task)
                kept, gone, stuck = await self._retain()
            except GaveWay as gave_way:
                return StepResult(False, str(gave_way), points=await self._on_disk(self._listed))
            except PointFailed as failed:
                await self._forget_orphans()
                return StepResult(
                    False, f"{failed}. Nothing was changed in the cluster", points=await self._on_disk(self._listed)
                )
            except OSError as error:
                await self._forget_orphans()
                root = self._store.root
                return StepResult(
                    False,
                    f"no restore point could be written in {root} on the bastion: {error}; nothing was left behind and "
                    f"nothing was changed in the cluster. {_cure(error, root)}",
                    points=await self._on_disk(self._listed),
                )
            finally:
                self._patient = None
        told = [_told(point), *(f"lacks {each}" for each in point.lacks), *problems, *stuck]
        return StepResult(
            True, "; ".join(told) + (f"; removed as surplus: {', '.join(gone)}" if gone else ""), points=kept
        )

    async def _ended(self, task: asyncio.Task[RestorePoint]) -> RestorePoint:
        """What came of the task, which a plan may have ended."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise GaveWay(
                    "no restore point was taken on the schedule: a plan that waits for one of its own came first"
                ) from None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    # --- one point ---

    async def _take(
        self, operation: TakeRestorePoint, host: str, points: Sequence[RestorePoint], until: float
    ) -> RestorePoint:
        view = await self._healthy(host, until)
        self._room(view.db_size)
        now = self._clock()
        id = point_id(self._cluster.name, now, await self._on_disk(self._store.names))
        sequence = max((p.sequence for p in points), default=0) + 1
        draft = _Draft(id, sequence, self._store.begin(id), operation.why, host)
        try:
            info, nodes = await self._fetch(draft, until)
            point = await self._write(draft, view, info, nodes, now)
        except BaseException:
            self._store.discard(draft.directory)
            self._orphans = (*self._orphans, id)
            raise
        return await self._verified(point, view, until)

    async def _healthy(self, host: str, until: float) -> EtcdView:
        try:
            view = await self._etcd(host).view(timeout=max(VIEW_SECONDS, left(until) / 4))
        except EtcdUnseen as unseen:
            raise PointFailed(f"no restore point was taken from {host}: {unseen}") from unseen
        if not view.healthy or not view.has_leader or view.learner:
            why = view.health_reason or ("it is a learner" if view.learner else "it knows no leader")
            raise PointFailed(f"no restore point was taken from {host}: its etcd member is not healthy ({why})")
        return view

    def _room(self, database: int) -> None:
        free, reserve = self._store.free(), self._settings.min_free
        if free < database + reserve:
            raise PointFailed(
                f"no restore point was taken: it needs {_size(database)}, {_size(reserve)} stay free "
                "(restore_points.min_free), and "
                f"{self._store.root} on the bastion has {_size(free)} free. Make room there, or keep "
                "fewer (restore_points.keep)"
            )

    async def _fetch(self, draft: _Draft, until: float) -> tuple[SnapshotInfo, list[NodeFiles]]:
        planes = [h.name for h in self._cluster.control_planes]
        seconds = max(5.0, min(NODE_SECONDS, left(until) / 3))
        keys = self._settings.keys_on_bastion
        try:
            info = await self._etcd(draft.host).snapshot(
                draft.directory / SNAPSHOT, timeout=max(1.0, left(until) - seconds)
            )
        except EtcdUnseen as unseen:
            raise PointFailed(f"no restore point was taken from {draft.host}: {unseen}") from unseen
        nodes = await asyncio.gather(*(take_node(self._hosts, n, draft.id, seconds, keys=keys) for n in planes))
        return info, nodes

    async def _write(
        self, draft: _Draft, view: EtcdView, info: SnapshotInfo, nodes: Sequence[NodeFiles], now: datetime
    ) -> RestorePoint:
        content = {path: data for node in nodes for path, data in node.content.items()}
        configmaps = next((n.configmaps for n in nodes if n.configmaps.strip()), b"")
        lacks = [each for n in nodes for each in n.lacks]
        if configmaps:
            content["configmaps.yaml"] = configmaps
            lacks += [f"the ConfigMap {c}: kubectl gave none" for c in absent(configmaps)]
        else:
            lacks.append("the ConfigMaps kubeadm-config and kubelet-config: no control plane's kubectl gave them")
        point = RestorePoint(
            id=draft.id,
            taken_at=now.timestamp(),
            why=draft.why,
            host=draft.host,
            path=str(self._store.path(draft.id) / SNAPSHOT),
            sha256=info.sha256,
            size=info.size,
            cluster_id=view.cluster_id,
            revision=view.revision,
            keys=0,
            verified_at=None,
            how_verified="not verified, but for its hash: recoverd was ended before that; the revision is what the "
            "member said before it was fetched",
            directory=str(self._store.path(draft.id)),
            sequence=draft.sequence,
            lacks=tuple(lacks),
            pod_files=tuple(row for n in nodes for row in n.pod_files),
            uid=view.uid or "",
        )

        def commit() -> None:
            for path, data in content.items():
                write(draft.directory / path, data)
            self._store.commit(draft.directory, point)

        await self._to_its_end(commit)
        return point

    # --- is it any good? ---

    async def _verified(self, point: RestorePoint, view: EtcdView, until: float) -> RestorePoint:
        """The point with what was found out about it. Raises `PointFailed`, the point
        removed, when it cannot be restored.
        """
        try:
            programs = await scratch.find(self._settings.programs)
            restored = await self._restored(programs, point, view, until)
            keys, compared = await self._compared(point, view, restored, until)
        except scratch.Unable as unable:
            why = (
                f"not verified, but for its hash: {unable}; the revision is what the member said before it was fetched"
            )
            point = replace(point, how_verified=why)
        except scratch.Refuted as refuted:
            await self._on_disk(self._store.remove, point.id)
            self._orphans = (*self._orphans, point.id)
            raise PointFailed(
                f"the snapshot from {point.host} has a good hash and cannot be restored, so it was not kept: "
                f"{refuted}. Its member's data may be "
                f"corrupt: look at etcd on {point.host} (its log, `etcdctl endpoint hashkv --cluster`)"
            ) from refuted
        else:
            how = f"{restored.how}, {compared}"
            point = replace(
                point, revision=restored.revision, keys=keys, verified_at=self._clock().timestamp(), how_verified=how
            )
        await self._to_its_end(lambda: self._store.update(point))
        return point

    async def _restored(
        self, programs: scratch.Programs, point: RestorePoint, view: EtcdView, until: float
    ) -> scratch.Restored:
        free, need = self._store.free(), point.size + SCRATCH_LOGS + self._settings.min_free
        if free < need:
            raise scratch.Unable(
                f"to restore it takes {_size(need)} with what stays free, and {self._store.root} has {_size(free)}"
            )
        directory = self._store.root / f"{SCRATCH}{point.id}"
        directory.mkdir(mode=0o700)
        try:
            restored = await scratch.restore(programs, Path(point.path), directory, view.version, until)
        finally:
            self._store.discard(directory)
        if restored.revision < view.revision:
            raise scratch.Refuted(
                f"restored, it is at revision {restored.revision}, and the member was at "
                f"{view.revision} before it was fetched"
            )
        return restored

    async def _compared(
        self, point: RestorePoint, view: EtcdView, restored: scratch.Restored, until: float
    ) -> tuple[int, str]:
        """The number of keys, held against what the member has at that revision, where it still can say."""
        try:
            live = await self._etcd(point.host).keys(restored.revision, timeout=max(VIEW_SECONDS, left(until)))
        except EtcdUnseen as unseen:
            return restored.keys, f"not compared with the member, which could not say how many it had then ({unseen})"
        if live != restored.keys:
            raise scratch.Refuted(
                f"restored, it has {restored.keys} keys at revision {restored.revision}, and the member had {live} then"
            )
        return restored.keys, f"as many as the member had at that revision; its own revision was {view.revision} before"

    # --- the disk ---

    async def _on_disk(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call, *arguments)

    async def _to_its_end(self, call: Callable[[], None]) -> None:
        """Waited for even when cancelled: what is being written must not be removed at the same time."""
        task = asyncio.create_task(self._on_disk(call))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.gather(task, return_exceptions=True)
            raise

    def _look(self) -> StepResult:
        self._store.open()
        orphans = self._store.leftovers()
        self._orphans = tuple(dict.fromkeys((*self._orphans, *orphans)))
        points, problems = self._store.list()
        lines = [f"removed what there was of {id}, which was interrupted" for id in orphans] + problems
        return StepResult(True, "; ".join(lines), points=points)

    def _prepare(self) -> tuple[tuple[RestorePoint, ...], list[str]]:
        looked = self._look()
        return looked.points or (), [looked.detail] if looked.detail else []

    def _listed(self) -> tuple[RestorePoint, ...] | None:
        try:
            return self._store.list()[0]
        except OSError:
            return None

    async def _forget_orphans(self) -> None:
        """Remove the keys that nodes keep for points that are no more; what cannot be reached
        now is tried with the next point.
        """
        if self._orphans:
            planes = [h.name for h in self._cluster.control_planes]
            reached = await asyncio.gather(
                *(forget_keys(self._hosts, name, self._orphans, FORGET_SECONDS) for name in planes)
            )
            self._orphans = () if all(reached) else self._orphans

    async def _retain(self) -> tuple[tuple[RestorePoint, ...], list[str], list[str]]:
        """Remove the surplus, here and on the nodes: what is left, the ids that went, and what could not be removed."""
        points, _ = await self._on_disk(self._store.list)
        going, stuck = [], []
        for point in surplus(points, self._settings, self._clock().timestamp()):
            try:
                await self._on_disk(self._store.remove, point.id)
                going.append(point.id)
            except OSError as error:
                stuck.append(f"the surplus {point.id} could not be removed: {error}; remove {point.directory} by hand")
        self._orphans = (*self._orphans, *going)
        await self._forget_orphans()
        return (await self._on_disk(self._store.list))[0], going, stuck


def _cure(error: OSError, root: Path) -> str:
    """What to do about a folder in which a point cannot be kept."""
    if error.errno == errno.EROFS:
        return (
            "Its file system is read-only, for all or for this unit, which may write in its own folders alone: "
            f"systemctl edit recoverd, [Service], ReadWritePaths={root.parent}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"See that {root} is of the user that recoverd runs as, with mode 0700"
    return "Make room there or see to its disk"


def _told(point: RestorePoint) -> str:
    return (
        f"{point.id} from {point.host}: {_size(point.size)}, sha256 {point.sha256}, revision "
        f"{point.revision}, {point.how_verified}"
    )


def _size(count: int) -> str:
    return f"{count / MIB:.0f} MiB" if count >= MIB else f"{count} bytes"


hand(TakeRestorePoint)(lambda o, at: at.reach.points.take(o, at.host, at.until, resume=at.resume))
hand(LookAtRestorePoints)(lambda o, at: at.reach.points.look())
