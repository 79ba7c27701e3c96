"""Nodes and pods as the API server lists them: of each only the fields that are used, and a pod that has not changed
is the object of the sweep before. Nothing here asks anybody.

The shapes are what is decoded into: whatever else an object has is passed over without being made.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from heapq import nlargest
from typing import Any

import msgspec
from msgspec import Raw, Struct

from recoverd.model.node_operations import CORDONED
from recoverd.model.observation import CreatedView, NodeView
from recoverd.observe.kubelet import MIRROR, ListedPod, from_object, instant, owner_of
from recoverd.observe.text import printable

NODE, ROW = b'{"metadata":{', b'{"cells":['
"""What a node in its list and a row of a table begin with (`pieces`)."""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
"""Pods are asked for as a table: of thousands of them only the node's name is wanted, and a
table is a tenth of the objects.
"""
NEWEST = 100
MESSAGE = 300
"""Characters of what a condition says."""
NOTHING = Raw(b"null")


class ListMeta(Struct, rename={"more": "continue", "version": "resourceVersion"}):
    """Of a list."""

    more: str | None = None
    version: str = ""


class Notes(Struct):
    """Annotations."""

    mirror: str | None = msgspec.field(default=None, name=MIRROR)
    cordoned: str | None = msgspec.field(default=None, name=CORDONED)
    flannel: str | None = msgspec.field(default=None, name="flannel.alpha.coreos.com/public-ip")
    calico: str | None = msgspec.field(default=None, name="projectcalico.org/IPv4Address")
    """With the length of its network behind it."""


class Meta(Struct, rename="camel"):
    """Of an object. What is raw is decoded once for all objects that have the same."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Raw = NOTHING
    annotations: Notes | None = None
    owner_references: Raw = NOTHING


UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
PASSED_OVER = re.compile(
    r"node-role\.kubernetes\.io/.*|node\.kubernetes\.io/(unschedulable|(memory|disk|pid)-pressure)"
)
"""Keys of taints that are told otherwise: of control planes, of a cordon, of pressures."""
PRESSURES = frozenset({"DiskPressure", "MemoryPressure", "PIDPressure"})


class Condition(Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


class Address(Struct):
    type: str
    address: str


class NodeInfo(Struct):
    boot: str = msgspec.field(default="", name="bootID")
    kubelet: str = msgspec.field(default="", name="kubeletVersion")
    machine: str = msgspec.field(default="", name="machineID")
    system: str = msgspec.field(default="", name="systemUUID")


class Taint(Struct, rename="camel"):
    key: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(Struct):
    unschedulable: bool | None = None
    taints: list[Taint] | None = None
    pods: str | None = msgspec.field(default=None, name="podCIDR")
    of_pods: list[str] | None = msgspec.field(default=None, name="podCIDRs")


class NodeStatus(Struct, rename="camel"):
    conditions: list[Condition] | None = None
    addresses: list[Address] | None = None
    node_info: NodeInfo | None = None


class Node(Struct):
    metadata: Meta
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class NodeList(Struct):
    items: list[Node]
    kind: str = ""
    metadata: ListMeta | None = None


class RowObject(Struct):
    metadata: Meta


class Row(Struct):
    cells: list[Any]
    object: RowObject


class Column(Struct):
    name: str


class PodTable(Struct, rename="camel"):
    """The table of pods, or their list where the server makes no table."""

    kind: str = ""
    metadata: ListMeta | None = None
    column_definitions: list[Column] | None = None
    rows: list[Row] | None = None
    items: list[dict[str, Any]] | None = None


class Event(Struct):
    """One line of a watch of pods."""

    type: str
    object: Raw


NODES, PODS = msgspec.json.Decoder(NodeList), msgspec.json.Decoder(PodTable)
EVENTS = msgspec.json.Decoder(Event)
Nodes = tuple[tuple[NodeView, ...], list[CreatedView]]


async def nodes_of(documents: AsyncIterator[bytes]) -> Nodes:
    """The nodes, and when each was made. Raises `ValueError` for what is no list of nodes, or only a part of one: that
    taken for all of them would be as bad as another cluster's.
    """
    views, made = list[NodeView](), list[CreatedView]()
    async for document in documents:
        listed = _whole(NODES.decode(document), "NodeList")
        views += map(_node, listed.items)
        made += (c for n in listed.items if (c := _created("node", n.metadata.name, n.metadata.creation_timestamp)))
    return tuple(views), made


class PodBook:
    """The pods of one cluster as they were listed last, and what was told of them since."""

    def __init__(self) -> None:
        self._known: dict[str, ListedPod] = {}
        self._columns: list[str] = []
        self.version = ""
        """Of the list, from which a watch of its pods goes on; "" where the server made no table of them."""

    async def read(self, documents: AsyncIterator[bytes]) -> tuple[ListedPod, ...]:
        """All pods. Raises `ValueError` for what is no list of pods or a part of one, or `IndexError`."""
        self.version = ""
        pods = list[ListedPod]()
        async for document in documents:
            pods += self.listed(document)
        self._known = {p.uid: p for p in pods if p.version}
        if len(self._known) < len(pods):
            self.version = ""
        return tuple(pods)

    def pods(self) -> tuple[ListedPod, ...]:
        """All that were listed, with what `take` was told since."""
        return tuple(self._known.values())

    def take(self, line: bytes) -> None:
        """Take in one event of a watch that began at `version`. Raises `ValueError` or `IndexError` for one that is not
        understood, as for an error that the API server sends (410: it has forgotten that version).
        """
        event = EVENTS.decode(line)
        if event.type == "BOOKMARK":
            return
        if event.type not in ("ADDED", "MODIFIED", "DELETED"):
            raise ValueError(f"{event.type}: {printable(bytes(event.object).decode(errors='replace'), MESSAGE)}")
        table = _whole(PODS.decode(event.object), "Table")
        # a newer API server (seen in its source since 1.16) names the columns in the first event of a watch alone
        self._columns = _columns(table) or self._columns
        for pod in self._rows(table, self._columns):
            if event.type == "DELETED":
                self._known.pop(pod.uid, None)
            else:
                self._known[pod.uid] = pod

    def listed(self, document: bytes) -> Iterable[ListedPod]:
        """Those of one document; of it only the version and the columns are kept."""
        table = _whole(PODS.decode(document), "Table", "PodList")
        if table.kind != "Table":
            return map(from_object, table.items or ())
        self.version = (table.metadata and table.metadata.version) or ""
        self._columns = _columns(table)
        return self._rows(table, self._columns)

    def _rows(self, table: PodTable, columns: Sequence[str]) -> list[ListedPod]:
        node, ip, ready, status = (columns.index(name) for name in ("Node", "IP", "Ready", "Status"))
        return [
            self._pod(r.object.metadata, r.cells[node], r.cells[ip], str(r.cells[ready]), str(r.cells[status]))
            for r in table.rows or ()
        ]

    def _pod(self, meta: Meta, node: Any, ip: Any, ready: str, status: str) -> ListedPod:
        node, ip = ("" if word in (None, "<none>") else str(word) for word in (node, ip))
        have, _, want = ready.partition("/")
        well = have == want and have != "0"
        known = self._known.get(meta.uid)
        # after a restore of etcd's data a version may come a second time, with other words
        if (
            known is not None
            and known.version == meta.resource_version
            and (known.node, known.ip, known.status, known.ready) == (node, ip, status, well)
        ):
            return known
        if not (meta.uid and meta.name):
            raise ValueError("a pod without a uid or a name")
        return ListedPod(
            uid=meta.uid,
            name=f"{meta.namespace}/{meta.name}",
            node=sys.intern(node),
            ip=ip,
            status=sys.intern(status),
            ready=well,
            created=instant(meta.creation_timestamp),
            deleting=bool(meta.deletion_timestamp),
            mirror=(meta.annotations and meta.annotations.mirror) or "",
            owner=_owner(bytes(meta.owner_references)),
            labels=_labels(bytes(meta.labels)),
            version=meta.resource_version,
        )


def _columns(table: PodTable) -> list[str]:
    return [c.name for c in table.column_definitions or ()]


def per_node(pods: Sequence[ListedPod]) -> dict[str, int]:
    """How many pods each node has; those of none are under ""."""
    return dict(Counter(p.node for p in pods))


def newest(made: Sequence[CreatedView], pods: Sequence[ListedPod]) -> tuple[CreatedView, ...]:
    """The nodes and pods that were created last, newest first."""
    dated = (p for p in pods if p.created)
    latest = nlargest(NEWEST, dated, key=lambda p: p.created)  # type: ignore[arg-type, return-value]
    found = [*made, *(CreatedView("pod", p.name, p.created) for p in latest if p.created)]
    return tuple(nlargest(NEWEST, found, key=lambda c: c.at))


def _whole(listed: Any, *kinds: str) -> Any:
    if listed.kind not in kinds:
        raise ValueError(f"a {listed.kind or 'thing of no kind'} where a {kinds[0]} was asked for")
    if listed.metadata and listed.metadata.more:
        raise ValueError("only a part of the list")
    return listed


@lru_cache(maxsize=1 << 14)
def _labels(raw: bytes) -> dict[str, str]:
    """Pods of one workload have the same, and share them. Not to be changed."""
    return msgspec.json.decode(raw) or {}


@lru_cache(maxsize=1 << 14)
def _owner(raw: bytes) -> str:
    return owner_of(msgspec.json.decode(raw))


def _node(node: Node) -> NodeView:
    meta, status = node.metadata, node.status or NodeStatus()
    if not meta.name:
        raise ValueError("a node without a name")
    labels = msgspec.json.decode(meta.labels) or {}
    about = next((c for c in status.conditions or () if c.type == "Ready"), Condition())
    ready, info = about.status == "True", status.node_info or NodeInfo()
    inner, outer = ([a.address for a in status.addresses or () if a.type == t] for t in ("InternalIP", "ExternalIP"))
    return NodeView(
        name=meta.name,
        ready=ready,
        unschedulable=bool(node.spec and node.spec.unschedulable),
        control_plane=any(f"node-role.kubernetes.io/{role}" in labels for role in ("control-plane", "master")),
        # no address is none that could be looked at: Windows has no shell of ours, and a virtual one no machine
        address=""
        if labels.get("kubernetes.io/os", "linux") != "linux" or labels.get("type") == "virtual-kubelet"
        else next(iter(inner), ""),
        boot_id=info.boot,
        kubelet_version=sys.intern(info.kubelet),
        cordoned_by=(meta.annotations and meta.annotations.cordoned) or "",
        reason="" if ready else about.reason or "",
        message="" if ready else printable(about.message or "", MESSAGE),
        cordoned_at=_cordoned_at(node.spec),
        pressures=tuple(c.type for c in status.conditions or () if c.type in PRESSURES and c.status == "True"),
        since=instant(about.last_transition_time),
        pod_cidrs=_pod_cidrs(node.spec),
        machine_id=info.machine,
        system_uuid=info.system,
        more_addresses=(*inner[1:], *outer),
        announced=_announced(meta.annotations or Notes()),
        taints=_taints(node.spec),
        without_network=next(
            (
                instant(c.last_transition_time)
                for c in status.conditions or ()
                if c.type == "NetworkUnavailable" and c.status == "True"
            ),
            None,
        ),
    )


def _taints(spec: NodeSpec | None) -> tuple[str, ...]:
    kept_away = (t for t in (spec and spec.taints) or () if t.effect in ("NoSchedule", "NoExecute"))
    return tuple(sys.intern(f"{t.key}:{t.effect}") for t in kept_away if not PASSED_OVER.fullmatch(t.key))


def _announced(notes: Notes) -> str:
    return (notes.flannel or notes.calico or "").partition("/")[0]


def _pod_cidrs(spec: NodeSpec | None) -> tuple[str, ...]:
    return tuple(spec.of_pods or filter(None, [spec.pods])) if spec else ()


def _cordoned_at(spec: NodeSpec | None) -> datetime | None:
    """When the controller has put the taint on it that goes with a cordon."""
    taints = (spec.taints or ()) if spec and spec.unschedulable else ()
    return next((instant(t.time_added) for t in taints if t.key == UNSCHEDULABLE), None)


def _created(kind: str, name: str, at: str | None) -> CreatedView | None:
    moment = instant(at)
    return CreatedView(kind, name, moment) if moment else None
