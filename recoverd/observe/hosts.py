"""The machines of a cluster: one look over SSH each, all at once."""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files

from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.clients.lease import LeaseKeeper, Tenure
from recoverd.model.observation import HostView, Unseen, UnseenKind
from recoverd.observe.keys import KeyWatch
from recoverd.observe.look import LookError, parse
from recoverd.observe.pod_files import NONE, Asked
from recoverd.shell import functions

SCRIPT = (files(__package__) / "look.sh").read_text()
LEASE = (files(__package__) / "lease.sh").read_text()
TERM = f"{functions('term_there')}\n{(files(__package__) / 'term.sh').read_text()}"
PIDS = functions("pids", "of_another", "kubelet_flags", "kubelet_says", "kubelet_runtime")
TOOL = functions("make_private", "etcd_tool", "etcd_tool_done", "etcd_tool_at", "etcd_tool_copied")
NODE = f"{functions('given_out', 'leaked')}\n{(files(__package__) / 'node.sh').read_text()}"
POD_FILES = (files(__package__) / "pod_files.sh").read_text()
OUTPUT_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class EtcdAbout:
    """What a look at a control plane is told of its etcd."""

    data: str = ""
    """Where its data was while all was well: looked at where its manifest, which says so, is
    gone or names another directory.
    """
    minor: str = ""
    """Version of the program to look for that restores snapshots ("3.4.", or "any"); "" looks for none."""
    image: str = ""
    """etcd's image, which has that program."""


NO_ETCD = EtcdAbout()


@dataclass(frozen=True, slots=True)
class Extras:
    """What one look asks beside what every look does."""

    clock: bool = False
    """Whether the machine's clock is synchronised."""
    node: bool = False
    """What its kubelet and its runtime answer, whether it reaches the API server, and their configuration."""
    journals: tuple[str, ...] = ()
    """Units of which it is asked what they said last, as of those that fail."""
    largest: bool = False
    """Which files are the largest."""
    pods: tuple[tuple[str, str], ...] = ()
    """Static pods that are none of kubeadm's, and how their processes may be called: words without blanks."""
    files: Asked = NONE
    """Files that its static pods name, paths without blanks or anything else that a shell reads."""
    mounts: tuple[str, ...] = ()
    """Where file systems of their own were while all was well, paths of that kind as well."""


NOTHING_MORE = Extras()


async def look_at(
    hosts: HostPool,
    name: str,
    seconds: float,
    about: EtcdAbout = NO_ETCD,
    keys: KeyWatch | None = None,
    lease: LeaseKeeper | None = None,
    more: Extras = NOTHING_MORE,
    tenure: Tenure | None = None,
) -> HostView | Unseen:
    """Look at one machine within `seconds`. Never raises for what the machine does. Without `keys`,
    private keys are not asked about.

    With `lease`, the look renews, takes or lets go of it there; with `tenure`, the machine learns who owns its cluster
    now. `more` is asked beside what every look asks.
    """
    marker = f"@@{secrets.token_hex(8)}"  # so that nothing a log holds can pass for a section
    asked, until = datetime.now(UTC), asyncio.get_running_loop().time() + seconds
    try:
        given = f"M='{marker}' D={shlex.quote(about.data)} V={shlex.quote(about.minor)} I={shlex.quote(about.image)}"
        given += (
            f" J={shlex.quote(' '.join(more.journals))} F={_set(more.largest)} C={_set(more.clock)} N={_set(more.node)}"
        )
        if tenure:
            given += f"\nO='{tenure.holder} {tenure.number}'\n{TERM}"
        if lease:
            id, bastion, lasts, fence, want, process = lease.asked(name)
            given += f"\nR='{id} {_word(bastion)} {lasts:.0f} {fence} {want:d} {process}'\n{LEASE}"
        if more.mounts:
            given += f"\nB={shlex.quote(' '.join(more.mounts))}"
        if more.pods:
            given += f"\nS={shlex.quote(' '.join(f'{name}={program}' for name, program in more.pods))}"
        if more.files.paths:
            named = ((more.files.paths, "P"), (more.files.encrypting, "E"), (more.files.followed, "W"))
            given += "\n" + " ".join(f"{word}={shlex.quote(' '.join(paths))}" for paths, word in named)
            given += f"\n{POD_FILES}"
        if more.node:
            given += f"\n{NODE}"
        result = await hosts.run(name, f"{given}\n{PIDS}\n{TOOL}\n{SCRIPT}", timeout=seconds, max_output=OUTPUT_LIMIT)
    except HostUnseen as unseen:
        return unseen.unseen
    try:
        took = datetime.now(UTC) - asked
        look = parse(
            result.stdout, marker, middle=asked + took / 2, took=took.total_seconds(), truncated=result.truncated
        )
    except LookError as error:
        said = f"; it wrote to stderr: {result.stderr[:200]!r}" if result.stderr else ""
        return Unseen(
            UnseenKind.GARBAGE,
            f"{name} answered the look with something else (exit {result.exit_status}): {error}{said}",
        )
    if keys is None or look.view.pki is None:
        return look.view
    found = await keys.digests(hosts, name, look.key_stamp, until - asyncio.get_running_loop().time())
    return replace(look.view, pki=replace(look.view.pki, keys=found))


def _set(flag: bool) -> str:
    """As a variable that is empty or not."""
    return "1" if flag else ""


def _word(name: str) -> str:
    """A host name as a word that no shell reads anything into."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name) or "bastion"
