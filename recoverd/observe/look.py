"""What `look.sh` printed, as a `HostView`. Pure, and tolerant: a part that is missing or makes no
sense becomes a line in `problems`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TypeVar

import yaml

from recoverd.model.lease import HostLease
from recoverd.model.observation import (
    ContainerView,
    EtcdDataView,
    EtcdToolView,
    HostView,
    ManifestView,
    UnitView,
)
from recoverd.model.pod_yaml import read_yaml
from recoverd.observe import journal, pod_files, pod_logs
from recoverd.observe.clock import by_the_bastions
from recoverd.observe.disks import MORE, disks, largest
from recoverd.observe.node import node_look
from recoverd.observe.people import people
from recoverd.observe.pki import SECTIONS, pki
from recoverd.observe.sockets import peers
from recoverd.observe.text import printable

T = TypeVar("T")
RUNTIMES = ("containerd", "docker", "crio")
MANIFEST_LIMIT = 65536
NO_DATABASE = 65536
"""Bytes on the disk. What etcd leaves when its peers refuse it at its first start has 16384 (observed on 3.4.23) or
20480, in a file of 16 MiB (3.5.16); an API server's first minute makes more.
"""
LOG_LINE = 500
MET_SECONDS = 7 * 86400.0
"""How long a bastion that has looked at a machine, and does no more, still counts as one that may be at work."""
TICKS = 100.0
"""USER_HZ, in which /proc/PID/stat counts: 100 on every Linux that Kubernetes runs on."""


class LookError(ValueError):
    """What came back is not the output of `look.sh`."""


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    word: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def sections(output: str, marker: str) -> list[Section]:
    """Split the output at the lines that begin with the marker."""
    found: list[Section] = []
    for part in f"\n{output}".split(f"\n{marker} ")[1:]:
        head, *lines = part.split("\n")
        name, _, word = head.partition(" ")
        found.append(Section(name, word, tuple(lines)))
    return found


@dataclass(frozen=True, slots=True)
class Look:
    """What one look brought."""

    view: HostView
    key_stamp: str
    """What `stat` says of the files that hold private keys; "" where it did not come whole."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The sections of a look by name. What cannot be read becomes a line in `problems`."""

    by_name: Mapping[str, Section]
    problems: list[str]

    def read(self, name: str, read: Callable[[Section], T], default: T) -> T:
        if name not in self.by_name:
            self.problems.append(f"{name} is not in the look")
            return default
        try:
            return read(self.by_name[name])
        except (ValueError, IndexError, OverflowError) as error:
            self.problems.append(f"{name} could not be read: {error}")
            return default


def parse(output: str, marker: str, *, middle: datetime, took: float = 0.0, truncated: bool = False) -> Look:
    """The view of one machine, and when its keys were changed. `middle` is the bastion's clock
    half-way between asking and answer, which lie `took` seconds apart.

    Raises `LookError` when not even the boot id is there.
    """
    problems: list[str] = []
    found = _whole(sections(output, marker), truncated, problems)
    by_name = {s.name: s for s in found}
    boot_id = by_name["boot"].text.strip() if "boot" in by_name else ""
    if not boot_id:
        raise LookError(f"the look printed no boot id, but: {output[:200]!r}")

    part = Parts(by_name, problems).read
    clock = part("clock", _clock, None)
    uptime, since_boot = part("uptime", _uptime, (0.0, 0.0))
    boot_time = (clock or middle) - timedelta(seconds=min(since_boot, 3e9))
    units = part("units", lambda s: _units(s, boot_time), dict[str, UnitView]())
    part("manifests", lambda s: _said(s, 0), False)
    files = {s.word: s.text for s in found if s.name == "node-file"}
    logs = pod_logs.read(((s.name, s.word, s.lines) for s in found), clock)
    aside = by_name.get("aside")
    certificates, keys = pki(((s.name, s.word, s.text) for s in found if s.name in SECTIONS), problems)
    view = HostView(
        boot_id=boot_id,
        clock_offset=_certain((clock - middle).total_seconds(), took / 2) if clock else 0.0,
        uptime=uptime,
        joined=part("joined", lambda s: _said(s, 0), False),
        runtime=_runtime(units, part("endpoint", lambda s: s.text, "")),
        units=units,
        manifests=_static_pods(found, by_name.get("static-pods"), problems),
        containers=dict(_containers(found, boot_time, problems)),
        certificates=certificates,
        pki=keys,
        disks=part("disks", lambda s: disks(s.lines, {n: by_name[n].lines for n in MORE & by_name.keys()}), ()),
        unmounted=part("unmounted", lambda s: tuple(dict.fromkeys(filter(None, s.lines))), ())
        if "unmounted" in by_name
        else (),
        peers=part("peers", lambda s: peers(s.lines), None) if "peers" in by_name else None,
        etcd_data=part("etcd-data", _etcd_data, None),
        etcd_before=part("etcd-before", _etcd_data, None) if "etcd-before" in by_name else None,
        etcd_tool=part("etcd-tool", _etcd_tool, None) if "etcd-tool" in by_name else None,
        synchronised=SYNCHRONISED.get(by_name["synchronised"].text.strip()) if "synchronised" in by_name else None,
        people=part("people", lambda s: people(s.lines, aside.lines if aside else (), since_boot), None),
        node=part("node", lambda s: node_look(s.lines, files, logs), None) if "node" in by_name else None,
        problems=tuple(problems),
        journals=journal.read(((s.name, s.word, s.lines) for s in found), clock, units),
        largest=part("largest", lambda s: largest(s.lines), ()) if "largest" in by_name else (),
        lease=part("lease", _lease, None) if "lease" in by_name else None,
        pod_files=part("pod-files", lambda s: pod_files.read(s.lines), None) if "pod-files" in by_name else None,
    )
    return Look(by_the_bastions(view), by_name["keys"].text if "keys" in by_name else "")


def _certain(offset: float, error: float) -> float:
    """The least that a clock is off: a machine that is slow to answer has read its own at any time between."""
    return math.copysign(max(0.0, abs(offset) - error), offset)


def _static_pods(found: list[Section], elsewhere: Section | None, problems: list[str]) -> dict[str, ManifestView]:
    read = dict(_manifests(found, problems))
    if elsewhere is None:
        return read
    problems.append(
        f"its static pod manifests are in {printable(elsewhere.word, LOG_LINE)}, as kubelet is told "
        "(staticPodPath), and not where kubeadm writes them: recoverd neither reads nor changes them there"
    )
    return {}  # what is in kubeadm's directory is in nobody's use, and what is not in it says nothing


SYNCHRONISED = {"NTPSynchronized=yes": True, "NTPSynchronized=no": False}


def _whole(found: list[Section], truncated: bool, problems: list[str]) -> list[Section]:
    """The sections that came whole; a look that was cut short is told in `problems`."""
    if not truncated and found and found[-1].name == "end":
        return found
    # what stands last may lack lines, and a line that is not there means something in some sections
    problems.append("the look was cut short: manifests, containers and certificates may be missing from it")
    return found[:-1]


def _clock(section: Section) -> datetime | None:
    seconds, _, rest = section.text.strip().partition(".")
    fraction = float(f"0.{rest}") if rest.isdigit() else 0.0  # busybox prints %N as it stands
    return datetime.fromtimestamp(int(seconds), UTC) + timedelta(seconds=fraction)


def _uptime(section: Section) -> tuple[float, float]:
    """Seconds since the machine's own init started, and since the kernel booted.

    In a container they differ: its /proc/uptime is the host's, and so is the origin of every start time in
    /proc/PID/stat (field 22, proc(5)). The first line is of the process that read it, so that its start is now.
    """
    now, init = (int(line.rpartition(")")[2].split()[19]) / TICKS for line in section.lines[:2])
    return now - init, now


def _lease(section: Section) -> HostLease:
    """What `lease` printed (lease.sh)."""
    lines = [line.split(maxsplit=4) for line in section.lines if line.strip()]
    said = {words[0]: words for words in lines}
    _, holder, fence, left, *name = said.get("holder", ["", "-", "0", "0"])
    return HostLease(
        holder="" if holder == "-" else holder,
        name=" ".join(name),
        fence=int(fence),
        left=float(left),
        mine="mine" in said,
        problem=" ".join(said["problem"][1:]) if "problem" in said else "",
        others=tuple(
            words[2] for words in lines if words[0] == "other" and len(words) > 2 and float(words[1]) < MET_SECONDS
        ),
    )


def _said(section: Section, line: int) -> bool:
    """What `there` printed."""
    answer = section.lines[line]
    if answer not in ("yes", "no"):
        raise ValueError(f"whether it exists cannot be told ({answer!r}); does its disk answer?")
    return answer == "yes"


def _runtime(units: dict[str, UnitView], endpoint: str) -> str:
    """The one that kubelet is told to use, by its own command line or the first file that says it, "" where that is
    none of ours; without that it is docker where there is one (kubelet's default before 1.24).
    """
    told = next(filter(None, endpoint.splitlines()), "")
    if told:
        return next((r for r in ("containerd", "crio", "docker") if r in told and r in units), "")
    return next((r for r in ("docker", *RUNTIMES) if r in units), "")


def _units(section: Section, boot_time: datetime) -> dict[str, UnitView]:
    units = {}
    for block in section.text.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = fields.get("Id", "").removesuffix(".service")
        if not name or (fields.get("LoadState") == "not-found" and name != "kubelet"):
            continue
        began = fields.get("ActiveEnterTimestampMonotonic") if fields.get("ActiveState") == "active" else ""
        changed = int(fields.get("StateChangeTimestampMonotonic") or began or 0)  # systemd 219 has only the second
        units[name] = UnitView(
            name=name,
            load=fields.get("LoadState", ""),
            active=fields.get("ActiveState", ""),
            sub=fields.get("SubState", ""),
            result=fields.get("Result", ""),
            since=boot_time + timedelta(microseconds=changed) if changed else None,
            restarts=int(fields.get("NRestarts") or 0),
        )
    if not units:
        raise ValueError(section.text.strip()[:200] or "systemctl said nothing")
    return units


def _manifests(found: Sequence[Section], problems: list[str]) -> Iterator[tuple[str, ManifestView]]:
    for section in found:
        if section.name == "unreadable":
            problems.append(f"the manifests could not be listed or read: {section.word}")
        if section.name != "manifest":
            continue
        path = PurePosixPath(section.word)
        try:
            size, modified = _size_and_time(section.lines[0])
            data = base64.b64decode("".join(section.lines[1:]), validate=True)
            if len(data) != min(size, MANIFEST_LIMIT + 1):
                raise ValueError(
                    f"{len(data)} of its {size} bytes came; it was written to just then, or its disk does not answer"
                )
        except (binascii.Error, ValueError, IndexError) as error:
            problems.append(f"the manifest {path} could not be read: {error}")
            continue
        content = data[:MANIFEST_LIMIT].decode(errors="replace")
        problem = f"longer than {MANIFEST_LIMIT} bytes" if len(data) > MANIFEST_LIMIT else manifest_problem(content)
        yield (
            path.name.removesuffix(".yaml"),
            ManifestView(str(path), hashlib.sha256(data).hexdigest(), content, problem, modified),
        )


def _size_and_time(line: str) -> tuple[int, datetime | None]:
    size, *modified = line.split()
    return int(size), datetime.fromtimestamp(int(modified[0]), UTC) if modified else None


@lru_cache(maxsize=4096)  # four of each control plane of all clusters
def manifest_problem(content: str) -> str:
    """Why kubelet cannot run it, or ""."""
    try:
        pod = read_yaml(content)
    except yaml.YAMLError as error:
        return f"not YAML: {' '.join(str(error).split())[:200]}"
    if pod is None:
        return "empty"
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        return "not a Pod"
    spec = pod.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if (
        not isinstance(containers, list)
        or not all(isinstance(c, dict) and c.get("name") and c.get("image") for c in containers)
        or not containers
    ):
        return "a Pod without whole containers (cut short?)"
    return ""


def _containers(
    found: Sequence[Section], boot_time: datetime, problems: list[str]
) -> Iterator[tuple[str, ContainerView]]:
    for section in found:
        if section.name != "container":
            continue
        if "scanned" in section.lines:
            yield section.word, _container(section, boot_time)
        else:
            problems.append(f"whether {section.word} runs could not be told: /proc cannot be read")


def _container(section: Section, boot_time: datetime) -> ContainerView:
    started, first, restarts, tail, in_log = None, None, 0, list[str](), False
    for line in section.lines:
        if in_log and line.startswith("first ") and first is None and not tail:
            first = _log_time(line.removeprefix("first "))
        elif in_log:
            tail.append(line)
        elif line.startswith("stat "):
            fields = line.rpartition(")")[2].split()
            if len(fields) > 19 and fields[0] != "Z" and fields[19].isdigit():
                # the oldest of several: the container's own process, not one that was started within
                begun = boot_time + timedelta(seconds=int(fields[19]) / TICKS)
                started = min(started, begun) if started else begun
        elif line.startswith("log "):
            stem = PurePosixPath(line[4:]).stem
            restarts = int(stem) if stem.isdigit() else 0
            in_log = True
    lines = tuple(_log_line(t) for t in tail if t.strip())
    return ContainerView(section.word, started is not None, started or first, None, restarts, lines)


def _log_time(line: str) -> datetime | None:
    """When the log begins, by the machine's own clock: each line of a CRI log, and of docker's in
    JSON, holds its time in RFC 3339.
    """
    found = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line)
    return datetime.fromisoformat(found[0]).replace(tzinfo=UTC) if found else None


def _log_line(line: str) -> str:
    """Without what the runtime puts before it (CRI: time, stream, tag)."""
    parts = line.split(" ", 3)
    text = parts[3] if len(parts) == 4 and parts[1] in ("stdout", "stderr") else line
    return printable(text, LOG_LINE)


def _etcd_data(section: Section) -> EtcdDataView:
    exists, database, log = (_said(section, line) for line in range(3))
    blocks, size, identity = [*" ".join(section.lines[3:4]).split(), "", "", ""][:3]
    nothing = database and int(blocks) * int(size) < NO_DATABASE
    return EtcdDataView(section.word, exists, not database or (nothing and not log), identity, nothing and log)


def _etcd_tool(section: Section) -> EtcdToolView | None:
    version, bump, path = [*section.lines[0].split(" ", 2), "", ""][:3] if section.lines else ["", "", ""]
    return EtcdToolView(path, version, bump == "yes") if path else None
