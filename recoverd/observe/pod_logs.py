"""What the sections `pod-log` of a look brought (`node.sh`): the last words of a node's agents, with how old they are.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from recoverd.model.node_look import PodLog
from recoverd.observe.journal import KLOG, RECENT
from recoverd.observe.text import printable

AGAIN = timedelta(seconds=120)
"""Within which whoever runs says again what still keeps him: client-go's reflectors wait for a minute at most, and
kube-proxy tries its rules again every 30 s (--iptables-sync-period).
"""
LINES, LINE = 15, 600
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[\d.]*(Z|[+-]\d\d:\d\d)")
DOCKER = re.compile(r'\{"log":"(.*?)(?:\\n)?"(?:,"stream":.*)?\}?$')


def read(sections: Iterable[tuple[str, str, Sequence[str]]], clock: datetime | None) -> dict[str, PodLog]:
    """By pod, of the sections (name, word, lines) of a look. Without the machine's own `clock` nothing is new. Of a pod
    with two, as of Cilium's agent and of what has to end before it, the later counts unless it has nothing new.
    """
    logs = dict[str, PodLog]()
    for name, word, lines in sections:
        container, _, pod = word.partition(" ")
        if name == "pod-log" and pod and clock is not None:
            log = PodLog(container, _since(lines, clock - RECENT), _since(lines, clock - AGAIN))
            logs[pod] = log if log.lines else logs.get(pod, log)
    return logs


def _since(lines: Sequence[str], since: datetime) -> tuple[str, ...]:
    """Each trouble once: its newest line, at its newest place. A line whose time is not known is as old as the one
    before it.
    """
    newest: dict[str, str] = {}
    young = False
    for line in lines:
        if stamped := STAMP.match(line) or (STAMP.search(line[-60:]) if line.startswith("{") else None):
            young = datetime.fromisoformat(stamped[1] + stamped[2].replace("Z", "+00:00")).astimezone(UTC) >= since
        said = _said(line)
        if young and said:
            same = KLOG.sub("", said)
            newest.pop(same, None)
            newest[same] = said
    return tuple(newest.values())[-LINES:]


def _said(line: str) -> str:
    """Without what the runtime puts around it: CRI's time, stream and tag, or docker's JSON."""
    parts = line.split(" ", 3)
    if len(parts) == 4 and parts[1] in ("stdout", "stderr"):
        return printable(parts[3], LINE).strip()
    found = DOCKER.match(line)
    return printable(found[1] if found else line, LINE).strip()
