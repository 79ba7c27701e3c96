"""etcd's data themselves: gone from every member, corrupt on one, or about to be begun anew
beside those who hold them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from recoverd.diagnose.cause import ETCD
from recoverd.diagnose.causes import reason
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE, EtcdView, accused, accused_alone
from recoverd.model.facts import Facts, Fate, LossFacts
from recoverd.model.finding import Finding, State
from recoverd.model.observation import EtcdDataView, HostView
from recoverd.model.places import flag
from recoverd.model.text import utc

CORRUPTION = re.compile(
    r"crc mismatch|checksum error|invalid database|invalid page type|page \d+ already "
    r"freed|freepages: |invalid freelist"
    r"|page expected to be|unexpected fault address|assertion failed|found data inconsistency "
    r"with peers|cannot be repaired"
    r"|cannot unmarshal|data corruption|state\.commit \d+ is out of range|snapshot file doesn't exist|failed to "
    r"find database snapshot file"
    r"|wal: .*(unexpected EOF|file not found|slice bounds out of range|snapshot (not found|mismatch)|conflicting "
    r"metadata)|file size too small"
)
"""What etcd and its database (bbolt) say of files that are not what they wrote (etcd's wal, snap, mvcc;
bbolt's page.go, freelist.go, db.go).
"""
FORGOTTEN = re.compile(r"tocommit\(\d+\) is out of range")
"""A leader tells it of entries that it has acknowledged, and its log does not have them any more: a machine put back to
a snapshot, or a disk that had not written what it said (etcd-io/etcd #13509, #15699). A member that was forced, and
hears those of before, says so, too (seen on 3.4).
"""
OF_THE_LOG = re.compile(r"\bwal|crc mismatch|cannot be repaired|cannot unmarshal|is out of range", re.IGNORECASE)
"""Which of those are about the write-ahead log (etcd's wal and walpb); the database beside it may be whole."""
DISAGREES = "found data inconsistency with peers"
"""Said by every member that compares itself with one whose data differ, when several start at
once (etcd's CheckInitialHashKV).
"""
ENDED = re.compile(r'^panic: |^fatal error: |"level":"(?:fatal|panic)"| C \| ')
"""With what an etcd ends itself: Go's runtime, zap's levels, and capnslog's before 3.5."""


LOST = (Fate.EMPTY, Fate.ANEW, Fate.CORRUPT)


def findings(scene: Scene) -> Iterator[Finding]:
    fates = {name: fate(scene, name) for name in holders(scene)}
    # also of a member that is new, or of a cluster that was never seen well: what an etcd says of its files holds
    judged = {n: fate(scene, n) for n in scene.parts} | fates
    corrupt = [n for n, f in judged.items() if f is Fate.CORRUPT]
    if fates and all(f in LOST for f in fates.values()) and not _held_elsewhere(scene, fates):
        yield _lost(scene, fates)
    for name in corrupt:
        if why := corruption(scene, name):
            yield _corrupt(name, why)
    for name in fates:
        others = [n for n, f in fates.items() if n != name and f is Fate.HELD]
        if (
            others
            and fates[name] is not Fate.ELSEWHERE
            and (host := scene.host(name)) is not None
            and _begins_anew(scene, name, host)
        ):
            yield _split(scene, name, host, others)


def displaced(scene: Scene) -> bool:
    """Whether some member that held the data is proven to be without them, or to run on others."""
    return any(fate(scene, name) in (Fate.EMPTY, Fate.ANEW, Fate.ELSEWHERE) for name in holders(scene))


def holders(scene: Scene) -> tuple[str, ...]:
    """Control planes that held etcd's data when it was last seen healthy; none in a cluster that never was."""
    watermark = scene.memory.watermark
    if watermark is None:
        return ()
    named, others = set(watermark.members.values()), unaccounted(scene)
    mine = tuple(n for n in scene.control_plane_names if n in named)
    # members may be called otherwise than their machines are in the configuration
    return (
        mine if mine and not others else tuple(n for n in scene.control_plane_names if n in mine or scene.remembered(n))
    )


def unaccounted(scene: Scene) -> tuple[str, ...]:
    """Members as they were last seen that have the name of no configured control plane."""
    watermark = scene.memory.watermark
    return tuple(sorted(set(watermark.members.values()) - {"", *scene.control_plane_names})) if watermark else ()


def _held_elsewhere(scene: Scene, fates: dict[str, Fate]) -> bool:
    """Somebody else may hold the data, or does: who cannot be looked at; a control plane that has joined since, and
    whose API server was not seen working yet; an API server that is ready, which is not that of a cluster begun anew.
    """
    watermark, others = scene.memory.watermark, unaccounted(scene)
    named = set(watermark.members.values()) if watermark else set()
    more = len(others) > sum(
        n not in named for n in fates
    )  # members on machines that are not configured, as after a join
    joined = any(_joined_since(scene, n) for n in scene.control_plane_names if n not in fates)
    return more or joined or (scene.api_ready and Fate.ANEW not in fates.values())


def _joined_since(scene: Scene, name: str) -> bool:
    """It is a member with data of its own that nobody had seen when all was well; learners have what they were sent."""
    view, entry = scene.etcd_views.get(name), scene.membership.entry_of(name)
    if view is not None and not view.remembered:
        return not view.learner and began_anew(scene, view) is not True
    host = scene.host(name)
    held = host is not None and host.etcd_data is not None and host.etcd_data.holds
    return held and entry is not None and entry.started and not entry.learner


def fate(scene: Scene, name: str) -> Fate:
    """What is proven of the data of one member.

    One that had data, answers nothing and has a database with nothing in it has lost them, log or not: where data are
    deleted everywhere, one that kubelet starts at once may be taken in by a peer that runs a moment longer, and get
    nothing of it (observed on 3.5.16 with three members). It was said to hold the data, beside an empty cluster.
    """
    host, view = scene.host(name), scene.etcd_views.get(name)
    if view is not None and view.member_id in accused_alone(scene.etcd_views.values()):
        return Fate.CORRUPT
    if view is not None and view.member_id in accused(scene.etcd_views.values()):
        return Fate.UNKNOWN  # some member's data are wrong, and etcd cannot tell whose
    if view is not None:
        anew = began_anew(scene, view)
        if anew:
            return Fate.ELSEWHERE if left_behind(host) else Fate.ANEW
        return Fate.UNKNOWN if anew is None else Fate.HELD
    if host is None or host.etcd_data is None:
        return Fate.UNKNOWN
    if not host.etcd_data.holds or host.etcd_data.blank:
        return Fate.ELSEWHERE if left_behind(host) else Fate.EMPTY
    return Fate.CORRUPT if corruption(scene, name) else Fate.HELD


def left_behind(host: HostView | None) -> EtcdDataView | None:
    """The directory that holds the data of before, where the manifest names another one now."""
    before = host.etcd_before if host else None
    return before if before is not None and before.holds else None


def began_anew(scene: Scene, view: EtcdView) -> bool | None:
    """What it holds is another Kubernetes cluster than the one that was seen: its namespace kube-system is not
    the same object, or is not there.

    Where that is not known of both: its history is shorter, and (nearly) none of the node objects that were there are
    in it. kubelet registers its node when it starts; so those of machines that were rebooted since may be there again.

    None where it is behind what was seen of the cluster, and what it holds was not: older data, or a new, empty
    cluster. Observed on 3.4.23 while three machines came up at once: a member that had begun anew served with a
    revision of 1, and its keys were not read in time in two sweeps on end.
    """
    watermark, nodes = scene.mark, scene.memory.node_count or 0
    if watermark is None or view.remembered or view.learner:
        return False
    if view.revision == 1 < watermark.revision:
        return True  # nothing was ever written to it
    if watermark.uid and view.uid is not None:
        return view.uid != watermark.uid
    if view.revision >= watermark.revision:
        return False
    if (
        nodes
        and view.nodes is not None
        and (view.nodes == 0 or (2 * view.nodes < nodes and 10 * view.revision < watermark.revision))
    ):
        return True
    return None if watermark.uid or (nodes and view.nodes is None) else False


def unread(*hosts: str) -> str:
    """In words: of the etcd on these machines `began_anew` says None."""
    return (
        f"etcd on {', '.join(hosts)} is behind what was seen of this cluster, and whether it holds that or is a new, "
        "empty one was not seen yet"
    )


def corruption(scene: Scene, name: str) -> tuple[str, ...]:
    """Lines of the log in which an etcd that does not come up says that its files are damaged;
    its data directory holds some.
    """
    said = _damage(scene, name)
    if any(DISAGREES in line for n in scene.control_plane_names if n != name for line in _damage(scene, n)):
        said = tuple(
            line for line in said if DISAGREES not in line
        )  # they differ, and nobody knows yet which of them is right
    return tuple(f"etcd on {name} says: {line}" for line in said)[-3:]


def says_damaged(lines: Iterable[str]) -> bool:
    """By these lines of its log its own files are damaged: not only others than its peers', whoever is right."""
    return any(CORRUPTION.search(line) and DISAGREES not in line for line in lines)


def says_why_it_ends(lines: Sequence[str]) -> bool:
    """By these lines of its log etcd has ended itself, and would at each start: kubelet's probe, which ends one that
    is well but without a leader, leaves no such words.
    """
    return any(p.search(line) for line in lines for p in (ENDED, CORRUPTION, FORGOTTEN)) or (
        (found := reason(lines, ETCD)) is not None and not found.cause.weak
    )


def only_its_log(scene: Scene, name: str) -> bool:
    """Whether etcd on this host says that nothing but its write-ahead log is damaged, as after a power cut: its
    database may be whole, and newer than any copy.
    """
    said = _damage(scene, name)
    return bool(said) and all(OF_THE_LOG.search(line) for line in said)


def _damage(scene: Scene, name: str) -> tuple[str, ...]:
    container = scene.container(name, "etcd")
    if container is None or name in scene.etcd_views or not (scene.etcd_stopped(name) or container.restarts):
        return ()
    forgotten = _followed(scene, name)
    return tuple(
        line for line in container.log_tail if CORRUPTION.search(line) or (forgotten and FORGOTTEN.search(line))
    )


def _followed(scene: Scene, name: str) -> bool:
    """The members that have a leader list it, and it was not forced to be a cluster of its own."""
    host, membership = scene.host(name), scene.membership
    manifest = host.manifests.get("etcd") if host else None
    forced = manifest is not None and FORCE in manifest.content
    return bool(membership.leader) and membership.entry_of(name) is not None and not forced


def _begins_anew(scene: Scene, name: str, host: HostView) -> bool:
    manifest, view = host.manifests.get("etcd"), scene.etcd_views.get(name)
    if manifest is None or manifest.problem or not says_new(manifest.content):
        return False
    if view is not None:
        return bool(began_anew(scene, view))
    return host.etcd_data is not None and not host.etcd_data.holds


def says_new(manifest: str) -> bool:
    """The etcd of this manifest begins a cluster of its own where it finds no data: kubeadm leaves the flag
    out, and `new` is etcd's default.
    """
    return flag(manifest, "--initial-cluster-state") in ("", "new")


def _lost(scene: Scene, fates: dict[str, Fate]) -> Finding:
    watermark = scene.memory.watermark
    was = f"revision {watermark.revision} at {utc(watermark.at)}" if watermark else "unknown"
    logs = [n for n, f in fates.items() if f is Fate.CORRUPT and only_its_log(scene, n)]
    rest = "nothing is left to go on from, and only a restore brings it back"
    if logs:
        rest = (
            f"nothing can be started. On {', '.join(logs)} only the write-ahead log is damaged by etcd's own words, "
            "and the database may be whole"
        )
    return Finding(
        Code.ETCD_DATA_LOST,
        "",
        f"The data of etcd is lost on every member ({', '.join(fates)}): {rest}. Last seen: {was}.",
        tuple(_line(scene, name, f) for name, f in fates.items()),
        state=State.ETCD_STUCK,
        facts=LossFacts(fates=fates),
    )


def _line(scene: Scene, name: str, what: Fate) -> str:
    host, view = scene.host(name), scene.etcd_views.get(name)
    if view is not None:
        return (
            f"{name}: {what}: revision {view.revision}, {view.nodes} node objects where "
            f"{scene.memory.node_count} were, {view.pods} pods"
        )
    path = host.etcd_data.path if host and host.etcd_data else "its data directory"
    return "; ".join((f"{name}:{path}: {what}", *corruption(scene, name)))


def _corrupt(name: str, why: tuple[str, ...]) -> Finding:
    return Finding(
        Code.ETCD_MEMBER_CORRUPT,
        name,
        f"The etcd member on {name} is corrupt: it does not come up, and says itself that its files are damaged. It "
        "must be a source of nothing.",
        why,
        state=State.ETCD_STUCK,
        facts=Facts(name),
    )


def _split(scene: Scene, name: str, host: HostView, others: list[str]) -> Finding:
    view, path = scene.etcd_views.get(name), host.etcd_data.path if host.etcd_data else "/var/lib/etcd"
    now = f"it has done so already (revision {view.revision})" if view else "as soon as it starts"
    return Finding(
        Code.ETCD_SPLIT_BRAIN,
        name,
        f"etcd on {name} begins a second, empty cluster beside {', '.join(others)}, which hold the data (split brain): "
        f"{now}. Its data is gone, and "
        "its manifest says --initial-cluster-state=new; it has to be rebuilt from its peers.",
        (
            f"{name}:{host.manifests['etcd'].path}: --initial-cluster-state is new (etcd's default)",
            f"{name}:{path}: {fate(scene, name)}",
            *(f"{n}: {Fate.HELD}" for n in others),
        ),
        state=State.ETCD_STUCK,
        facts=Facts(name),
    )
