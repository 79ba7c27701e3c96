"""States of whole clusters, kept on disk: the disks of machines that were switched off in good order, from
which clusters are booted again.

A state belongs to one number, since addresses and certificates hold it, and to one build of the lab, whose root file
system lies below its own. Its disks are never written to: a cluster booted from it has them as lower layers of an
overlay, and links to the files of its image store.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .host import CACHE, LabError, locked, remove_tree, run
from .node import Node

STATES = CACHE / "states"
MINE = "auto-"
"""What names of the states begin with that `lab up` makes by itself."""
MACHINES = 3
"""So many are switched off or booted at the same time: a boot is mostly work, and there are two cores."""

LINKED = ("io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs")


@dataclass(frozen=True)
class Shape:
    """What a cluster is made of."""

    control_planes: int = 1
    spares: int = 0
    workers: int = 2
    workload: bool = False
    profile: str = ""
    """Of its machines (`profiles`); "" for the default."""


@dataclass(frozen=True)
class State:
    """A kept state, by its name."""

    name: str

    @property
    def dir(self) -> Path:
        return STATES / self.name

    @property
    def about(self) -> dict[str, object]:
        """`number`, `build`, `shape` and `nodes`; raises LabError when there is no such state."""
        file = self.dir / "about.json"
        if not file.exists():
            raise LabError(f"there is no state {self.name}; `lab states` lists them")
        found: dict[str, object] = json.loads(file.read_text())
        return found

    def keep(self, number: int, nodes: Sequence[Node], shape: Shape) -> None:
        """Switch the machines off and take their disks; what is left of the machines is to be removed then.
        One of the same name is replaced.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name):
            raise LabError(f"a state's name is of lower-case letters, digits, dots and dashes: {self.name}")
        new = STATES / f".{self.name}.new"
        remove_tree(new)
        with ThreadPoolExecutor(MACHINES) as pool:
            list(pool.map(Node.shut_down, nodes))
        for node in nodes:
            place = new / node.name
            place.mkdir(parents=True)
            for part in ("upper", "containerd"):
                (node.dir / part).rename(place / part)
            (place / "layers").write_text("\n".join(map(str, node.layers)))
        listed = [{"name": n.name, "number": n.number} for n in nodes]
        about = {"number": number, "build": build_of(), "shape": asdict(shape), "nodes": listed}
        (new / "about.json").write_text(json.dumps(about, indent=1))
        remove_tree(self.dir)
        new.rename(self.dir)

    def check(self, number: int) -> None:
        """Raise LabError unless it can be booted as the cluster `number` on what is built now."""
        about = self.about
        if about["number"] != number:
            raise LabError(
                f"state {self.name} is of cluster {about['number']}, whose addresses are in its certificates: "
                f"--cluster {about['number']}"
            )
        if about["build"] != build_of():
            raise LabError(
                f"state {self.name} is of another build of the lab, and cannot be booted any "
                f"more: `lab forget {self.name}`"
            )

    def boot(self, nodes: Sequence[Node]) -> None:
        """Boot the machines on copies of its disks."""

        def boot(node: Node) -> None:
            kept, store = self.dir / node.name, node.dir / "containerd"
            store.mkdir(parents=True)
            copy_store(store, kept / "containerd")
            below = [kept / "upper", *map(Path, (kept / "layers").read_text().split())]
            node.boot(store, layers=below, kept=True)

        with ThreadPoolExecutor(MACHINES) as pool:
            list(pool.map(boot, nodes))

    def forget(self) -> None:
        """Remove it. Raises LabError while another state lies on it."""
        if above := [
            s.name
            for s in states()
            if s != self and any(str(self.dir) in f.read_text() for f in s.dir.glob("*/layers"))
        ]:
            raise LabError(f"state {self.name} is what {', '.join(above)} lies on: `lab forget` that first")
        shutil.rmtree(self.dir)


def states() -> list[State]:
    return [State(d.parent.name) for d in sorted(STATES.glob("*/about.json")) if not d.parent.name.startswith(".")]


def build_of() -> str:
    """What the lab's build was made of: nodes of another one have other files below their own."""
    marker = CACHE / "built"
    return marker.read_text().strip() if marker.exists() else ""


def forget_old(like: State) -> None:
    """Remove the states that `lab up` made by itself on another build, or that the state `like` takes the place of."""
    with locked("states"):  # clusters that come up side by side look at the same ones
        for state in reversed(states()):
            replaced = state != like and state.name.rpartition("-")[0] == like.name.rpartition("-")[0]
            if state.name.startswith(MINE) and (replaced or state.about["build"] != build_of()):
                # a person's state may lie on it, which cannot be booted either; it is for them to forget that
                with suppress(LabError):
                    state.forget()


def size(state: State) -> str:
    """Disk space of it alone, as du prints it."""
    return run(["du", "-sh", state.dir], capture_output=True).stdout.split()[0]


def copy_store(store: Path, seed: Path = CACHE / "containerd") -> None:
    """Give a node its own copy of an image store.

    Blobs and unpacked layers are linked, not copied: containerd never writes to them once they are there (layers
    are an overlay's lower directories), and a link costs neither time nor room. The databases beside them are
    copied. The writable layers of a machine that was switched off are linked as well: kubelet makes new containers
    after a boot, and removes those.
    """
    for part in seed.iterdir():
        run(
            ["cp", "-a", "--reflink=auto", part, store / part.name]
            if part.name not in LINKED
            else ["mkdir", store / part.name]
        )
        for child in part.iterdir() if part.name in LINKED else ():
            link = ["-l"] if child.name in ("blobs", "snapshots") else ["--reflink=auto"]
            run(["cp", "-a", *link, child, store / part.name / child.name])
