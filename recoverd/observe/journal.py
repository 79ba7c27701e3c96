"""What units say in their journals: whose is asked for in the next look, and what a look brought of it.

A unit that fails is read in every look by the machine itself (`look.sh`). What else may be worth reading is judged by
the look before: a unit that was restarted a moment ago, one that does not run, kubelet where a static pod does not or
where the node is not Ready. So a sweep of a machine on which all is well costs nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.diagnose.cause import KERNEL
from recoverd.diagnose.restless import idle, restless
from recoverd.model.observation import HostView, NodeView, UnitView
from recoverd.observe.text import printable

RECENT, FAILING = timedelta(minutes=10), timedelta(minutes=2)
"""What was said earlier is not about what is wrong now; a unit that systemd starts again and again says it again."""
LINES, LINE = 15, 600
YOUNG = timedelta(minutes=2)
"""So long after its last start a unit that systemd has restarted is asked about."""
STANDS = timedelta(seconds=10)
"""A unit that has been up for so long has nothing to do with what was said before its start."""
LARGEST_EVERY = 60.0
"""Seconds; the question reads directories on a disk that is in trouble."""
NEARLY_FULL = 256 << 20
STAMPED = re.compile(r"(\d+)\.\d+ \S+ [^:]*?: (.*)")
"""As `journalctl -o short-unix` writes it: seconds, machine, program, text."""
KLOG = re.compile(r"^[EFIW]\d{4} [\d:.]+ +\d+ |\d")
"""What makes two lines of the same trouble differ."""


def read(
    sections: Iterable[tuple[str, str, Sequence[str]]], clock: datetime | None, units: Mapping[str, UnitView]
) -> dict[str, tuple[str, ...]]:
    """The journals of a look, by unit, from its sections (name, word, lines). `clock` is the machine's
    own; without it nothing is young.
    """
    if clock is None:
        return {}
    texts = {word: text for name, word, text in sections if name == "journal" and word in (*units, KERNEL)}
    since = {KERNEL: clock - RECENT} | {name: _since(unit, clock) for name, unit in units.items()}
    return {unit: lines for unit, text in texts.items() if (lines := _lines(text, since[unit]))}


def _since(unit: UnitView, clock: datetime) -> datetime:
    if unit.running and unit.since is not None and clock - unit.since > STANDS:
        return max(unit.since - timedelta(seconds=1), clock - RECENT)
    return clock - (FAILING if unit.running or unit.active == "activating" else RECENT)


def _lines(text: Sequence[str], since: datetime) -> tuple[str, ...]:
    """Those since then, each trouble once: its newest line, at its newest place."""
    newest: dict[str, str] = {}
    for line in text:
        stamped = STAMPED.match(line)
        if stamped is None or int(stamped[1][:12]) < since.timestamp():
            continue
        said = printable(stamped[2], LINE).strip()
        same = KLOG.sub("", said)
        newest.pop(same, None)
        newest[same] = said
    return tuple(newest.values())[-LINES:]


class JournalWatch:
    """What the next look at each machine of one cluster is asked for."""

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._full: set[str] = set()
        self._largest: dict[str, tuple[float, tuple[str, ...]]] = {}
        """By machine: when it was asked for its largest files, and what they were."""

    def asks(self, name: str) -> tuple[tuple[str, ...], bool]:
        """The units whose journals are wanted, and whether its largest files are."""
        at, _ = self._largest.get(name, (-1e9, ()))
        return self._wanted.get(name, ()), name in self._full and time.monotonic() - at > LARGEST_EVERY

    def took(self, name: str, view: HostView, *, largest: bool) -> HostView:
        """Take note of a look for the one after it. Returns it with the largest files as they were
        last told, while its disk is full.
        """
        if largest:
            self._largest[name] = (time.monotonic(), view.largest)
        self._wanted[name] = wanted(view)
        full = any(d.total > 0 and d.free < NEARLY_FULL and not d.read_only for d in view.disks)
        (self._full.add if full else self._full.discard)(name)
        return replace(view, largest=self._largest.get(name, (0.0, ()))[1] if full else ())

    def lists(self, nodes: Iterable[NodeView], addresses: Mapping[str, str], waiting: Collection[str] = ()) -> None:
        """Nodes that are not Ready, and those where pods are `waiting`, have their kubelet asked. `addresses` are those
        of the machines, by name.
        """
        odd = (node for node in nodes if not node.ready or node.name in waiting)
        down = {word for node in odd for word in (node.name, node.address)} - {""}
        for name, address in addresses.items():
            if name in down or address in down:
                self._wanted[name] = tuple(dict.fromkeys((*self._wanted.get(name, ()), "kubelet")))


def wanted(view: HostView) -> tuple[str, ...]:
    """The units of a machine whose journals may say what is wrong there."""
    if not view.joined:
        return ()
    units = [u.name for u in restless(view, YOUNG) if u.load == "loaded"]
    return tuple(dict.fromkeys((*units, *(["kubelet", KERNEL] if idle(view) else []))))
