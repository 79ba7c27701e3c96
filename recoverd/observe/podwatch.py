"""Comparing pods node by node, cheaply: the directory of pods that the SSH look brings says where to look closer;
kubelet itself is the witness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from kubernetes.aio.client import ApiClient

from recoverd.model.network import NodePods, PodMismatch
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.observe.kubelet import Difference, ListedPod, compare, from_object, kubelet_uids, without
from recoverd.observe.lists import Answered, Lists

BATCH = 8
"""Kubelets asked in a sweep without a suspicion, in turn; each answer can be a megabyte."""
AT_ONCE = 8
YOUNG = timedelta(seconds=20)
"""A pod may be listed for so long before it has a directory without anything being suspected."""
SHOWN = 20


class PodWatch:
    """Compares the pods of one cluster's nodes. Keeps the last result of each node; one with a mismatch is never
    kept, but looked at again in every sweep.
    """

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._kept: dict[str, NodePods] = {}
        self._bad: set[str] = set()
        self._since: dict[tuple[str, str], datetime] = {}
        self._turn = 0

    async def look(
        self,
        client: ApiClient,
        nodes: Sequence[str],
        listed: Mapping[str, Sequence[ListedPod]],
        directories: Mapping[str, Sequence[str]],
        now: datetime,
        looked: Collection[str] | None = None,
    ) -> dict[str, NodePods | Unseen]:
        """`nodes` are those that are Ready; `directories` the uids that SSH found, by node. Of nodes that were not
        `looked` at in this sweep (None: all were) kubelet is asked only where something is suspected.
        """
        there = frozenset(nodes)
        suspects = [n for n in nodes if n in self._bad or _suspicious(listed.get(n, ()), directories.get(n), now)]
        calm = sorted(there.difference(suspects))
        if looked is None:
            start = self._turn % max(1, len(calm))
            batch = (calm[start:] + calm[:start])[:BATCH]
            self._turn = start + len(batch)
        else:
            # the turns of the machines are turns of the kubelets, the longest waiting first
            kept = {n: self._kept[n].at.timestamp() if n in self._kept else 0.0 for n in calm if n in looked}
            batch = sorted(kept, key=lambda n: (kept[n], n))[:BATCH]
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(node: str) -> NodePods | Unseen:
            async with limit:
                return await self._one(client, node, listed.get(node, ()), directories.get(node), now)

        asked = [*suspects, *batch]
        seen = dict(zip(asked, await asyncio.gather(*(one(n) for n in asked)), strict=True))
        self._bad = {n for n, r in seen.items() if isinstance(r, NodePods) and (r.missing or r.extra)}
        self._kept = {
            n: r
            for n, r in ({**self._kept, **seen}).items()
            if n in there and isinstance(r, NodePods) and n not in self._bad
        }
        shown = {(n, p.uid) for n in self._bad if isinstance(r := seen[n], NodePods) for p in (*r.missing, *r.extra)}
        self._since = {k: at for k, at in self._since.items() if k in shown}
        return {**self._kept, **seen}

    async def _one(
        self,
        client: ApiClient,
        node: str,
        listed: Sequence[ListedPod],
        directories: Sequence[str] | None,
        now: datetime,
    ) -> NodePods | Unseen:
        own = await self._lists.kubelet_pods(client, node)
        try:
            if isinstance(own, Answered):
                uids, excused = kubelet_uids(own.body)
                source, difference = "kubelet", without(compare(listed, uids), excused)
            elif directories is not None:
                uids = dict.fromkeys(directories, "")
                # a directory that is left over may only wait for a volume to be unmounted
                source, difference = "ssh", Difference(compare(listed, uids).missing, ())
            else:
                return own
            return await self._checked(client, node, listed, NodePods(now, source, len(listed), len(uids)), difference)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return Unseen(
                UnseenKind.GARBAGE, f"the pods of {node} were given in a form that cannot be understood ({error!r})"
            )

    async def _checked(
        self, client: ApiClient, node: str, listed: Sequence[ListedPod], plain: NodePods, difference: Difference
    ) -> NodePods | Unseen:
        """The API is asked a second time, so that a pod that came or went meanwhile is no mismatch."""
        if not difference.missing and not difference.extra:
            return plain
        again = await self._lists.pods_on(client, node)
        if not isinstance(again, Answered):
            return again
        fresh = {p.uid: p for p in map(from_object, again.body.get("items") or ())}
        hashes = {p.mirror for p in fresh.values() if p.mirror}
        missing = []
        for pod in difference.missing:
            now = fresh.get(pod.uid)
            if now is not None and not now.deleting and not now.may_have_ended:
                begun = now.bound or now.created or again.at
                missing.append(
                    self._mismatch(node, pod.uid, now.name, (again.at - begun).total_seconds(), plain.at, now.status)
                )
        extra = [
            self._mismatch(node, uid, name, None, plain.at)
            for uid, name in difference.extra
            if uid not in fresh and uid not in hashes
        ]
        return NodePods(plain.at, plain.source, len(listed), plain.run, tuple(missing[:SHOWN]), tuple(extra[:SHOWN]))

    def _mismatch(
        self, node: str, uid: str, name: str, age: float | None, now: datetime, phase: str = ""
    ) -> PodMismatch:
        since = self._since.setdefault((node, uid), now)
        return PodMismatch(uid, name, (now - since).total_seconds() if age is None else age, since, phase)


def _suspicious(listed: Sequence[ListedPod], directories: Sequence[str] | None, now: datetime) -> bool:
    if directories is None:
        return False
    missing = compare(listed, dict.fromkeys(directories, "")).missing
    return any(p.created is None or now - p.created > YOUNG for p in missing)
