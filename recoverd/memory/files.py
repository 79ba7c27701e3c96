"""What is remembered of the files that a node's kubelet, its runtime and its CNI go by. Pure.

A file counts as known-good only when what reads it was started after it was written, and is well: an edit shows at the
next start, which may be months later, at the next boot. Only such starts say what works, and not before kubelet and the
runtime have both been up for a while since: a node is called Ready for 40 s after its kubelet has come to its end
(observed: containerd, started without its CRI plugin, runs; it is kubelet that ends).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from recoverd.diagnose.nodes import judged
from recoverd.diagnose.scene import Scene
from recoverd.model.memory import KnownFile
from recoverd.model.node_look import HOSTS, NodeLook, read_always, reader_of
from recoverd.model.observation import HostView
from recoverd.model.operations import sha256

SETTLE = timedelta(seconds=90)
"""For which kubelet and the runtime must have been up; and the age of what is read whenever it is needed, as the CNI's
configuration.
"""

Files = Mapping[str, Mapping[str, KnownFile]]


def known_files(scene: Scene) -> tuple[Files, Mapping[str, str]]:
    """The known files of every node, and their texts, after a healthy sweep; the very
    same objects where nothing is new.
    """
    memory, changed, texts = scene.memory, dict[str, Mapping[str, KnownFile]](), dict[str, str]()
    for name in scene.addresses:
        view = scene.host(name)
        if view is None or view.node is None or not judged(scene, name) or not _stands(scene, view):
            continue
        before = memory.files.get(name, {})
        found = dict(_proven(scene, view, view.node))
        gone = {
            p
            for p in before
            # a kubelet runs on without its resolv.conf, and so does all that it has started
            if p not in (HOSTS, view.node.resolv)
            and p not in view.node.files
            and _started_since(view, p, before[p].recorded_at)
        }
        new = {p: k for p, k in before.items() if p not in gone}
        for path, text in found.items():
            digest = sha256(text)
            if path not in new or new[path].sha256 != digest:
                new[path], texts[digest] = KnownFile(digest, scene.now), text
        if new != before:
            changed[name] = new
    if not changed:
        return memory.files, memory.texts
    files = {**memory.files, **changed}
    used = {known.sha256 for of_host in files.values() for known in of_host.values()}
    return files, {digest: text for digest, text in {**memory.texts, **texts}.items() if digest in used}


def _proven(scene: Scene, view: HostView, look: NodeLook) -> Iterator[tuple[str, str]]:
    for path, file in look.files.items():
        if file.modified_at is None:
            continue
        written = file.modified_at - timedelta(seconds=view.clock_offset)
        if written + SETTLE <= scene.now if read_always(path) else _started_since(view, path, written):
            yield path, file.content
    # a connection was opened by that name just now
    if (
        look.reaches
        and look.addresses
        and (lines := [line for line in look.hosts if line.split()[0] in look.addresses])
    ):
        yield HOSTS, f"{lines[0]}\n"


def _stands(scene: Scene, view: HostView) -> bool:
    """kubelet and the runtime have been up for so long that the node would not be Ready any
    more if they were not at work.
    """
    units = [view.units.get("kubelet"), view.runtime_unit]
    return all(u is not None and u.running and u.since is not None and u.since + SETTLE <= scene.now for u in units)


def _started_since(view: HostView, path: str, at: datetime) -> bool:
    unit = view.units.get(reader_of(path, view.runtime))
    return unit is not None and unit.running and unit.since is not None and unit.since > at
