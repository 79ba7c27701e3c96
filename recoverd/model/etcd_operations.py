"""Giving etcd members data again: from a restore point, or from their peers. Data, as in `operations`."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Literal

from recoverd.model.etcd import EtcdView
from recoverd.model.shell import PIDS, complain

TOOL = r"""etcd_tool() {
  image=/run/recoverd/etcd-image.$$ # its own for every run
  etcd_tool_at "$1" "$(command -v etcdutl)" "$(command -v etcdctl)" $(
    for p in $(pids etcd); do for n in etcdutl etcdctl; do echo "$p/root/usr/local/bin/$n"; done; done) && return
  [ -n "$2" ] && command -v ctr >/dev/null && mkdir -p -m 700 $image || return 1
  ctr -n k8s.io images mount "$2" $image >/dev/null 2>&1 && etcd_tool_at "$1" $image/usr/local/bin/etcdutl $image/usr/local/bin/etcdctl
}
etcd_tool_done() {
  [ ! -e /run/recoverd/etcd-image.$$ ] || ctr -n k8s.io images unmount --rm /run/recoverd/etcd-image.$$ >/dev/null 2>&1 || true
  rmdir /run/recoverd/etcd-image.$$ 2>/dev/null || true
}
etcd_tool_at() {
  minor=$1; shift
  for t; do
    [ -x "$t" ] || continue
    v=$(ETCDCTL_API=3 "$t" version 2>/dev/null | sed -n 's/^etcd[a-z]* version: //p')
    case $v in "$minor"*) ;; *) continue ;; esac
    [ -n "$v" ] || continue
    b=no; ETCDCTL_API=3 "$t" snapshot restore --help 2>&1 | grep -q -e --mark-compacted && b=yes
    echo "$v $b $t"; return 0
  done
  return 1
}"""
"""A shell function that prints `VERSION yes|no PATH` of a program of that minor version ("3.4."; "" for any) that restores snapshots here; yes
where it knows --bump-revision and --mark-compacted. `etcd_tool_done` takes back what it mounted. Needs `pids`.

kubeadm's nodes have it only in etcd's image, which may have no shell; its programs are static, so they run as they are: from the root of the running
etcd, or from the image that its manifest names, mounted read-only. Never from wherever else in a container's files: pods could put a program there,
and this runs as root.
"""


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Send a restore point's snapshot from the bastion to the step's host, whole and with its hash checked there, or leave nothing."""

    source: str
    sha256: str
    size: int
    """Bytes."""
    target: str
    kind: Literal["send-snapshot"] = "send-snapshot"
    repeatable = True

    def command(self) -> str:
        return f"{self.receive()}\n# from {self.source} on the bastion, over SSH"

    def receive(self) -> str:
        """The script that takes the file from its stdin."""
        folder = self.target.rsplit("/", 1)[0]
        t, parent = shlex.quote(self.target), shlex.quote(folder)
        room = complain(f"there is no room in {folder} for the snapshot and what is made of it")
        return (
            f"set -eu\numask 077\nmkdir -p -m 700 {parent}\nset -- $(df -Pk {parent} | tail -n 1)\n"
            # the snapshot and what is made of it are on this disk together, and etcd itself must be able to write
            f'test "$4" -gt {3 * self.size // 1024 + 65536} || {room}\n'
            f'part={t}.$$.part\ntrap \'rm -f "$part"\' EXIT\ncat > "$part"\n'
            f'test "$(sha256sum "$part" | cut -c 1-64)" = {self.sha256} || {complain("what arrived is not the snapshot that was sent")}\n'
            f'sync "$part" || sync\nmv -f "$part" {t}'
        )

    def check(self) -> str:
        return f'test "$(sha256sum {shlex.quote(self.target)} 2>/dev/null | cut -c 1-64)" = {self.sha256}'


@dataclass(frozen=True, slots=True)
class RestoreSnapshot:
    """Make a member's data of a snapshot on the step's host, in the place where etcd looks for it. Nothing may be there, and no etcd may run.

    Made beside that place and renamed in, so that what is there is whole. With `bump`, revisions go on that far above the snapshot's, and older
    ones count as compacted: whoever watches is told to list anew (etcd's disaster recovery guide; etcdctl from 3.4.27 and 3.5.10).
    """

    snapshot: str
    sha256: str
    data: str
    """etcd's --data-dir."""
    name: str
    peer_url: str
    cluster: str
    """etcd's --initial-cluster."""
    token: str
    bump: int = 0
    minor: str = ""
    """Version of the program that may be used, as "3.4."; "" for any."""
    image: str = ""
    """Of etcd, as its manifest names it: the program is in it where the machine has none."""
    kind: Literal["restore-snapshot"] = "restore-snapshot"
    repeatable = True

    @property
    def title(self) -> str:
        return f"restoring the snapshot into {self.data}"

    @property
    def beside(self) -> str:
        return f"{self.data}/restored-{self.token}"

    def command(self) -> str:
        s, b, m = shlex.quote(self.snapshot), shlex.quote(self.beside), shlex.quote(f"{self.data}/member")
        bump = f" --bump-revision {self.bump} --mark-compacted" if self.bump else ""
        flags = (
            f"--name {shlex.quote(self.name)} --initial-cluster {shlex.quote(self.cluster)} --initial-cluster-token {shlex.quote(self.token)} "
            f'--initial-advertise-peer-urls {shlex.quote(self.peer_url)} --data-dir "$new"{bump}'
        )
        none = f"no etcdctl or etcdutl {self.minor}x was found on this machine, in PATH or in etcd's image ({self.image or 'unknown'})"
        lacks = "the program that restores snapshots here does not know --bump-revision and --mark-compacted, with which the plan was made"
        mixed = f"{self.data}/member exists, and restored data must not be mixed with it"
        free = f'test ! -e {m} || {complain(mixed)}\ntest -z "$(pids etcd)" || {complain("etcd runs here")}\n'
        other = "another restore is at work on this machine, and has not ended"
        return (
            f"set -eu\n{PIDS}\n{TOOL}\n{self.check()} && exit 0\n"
            # one that lost its connection may still be at work; what an earlier one left is in nobody's use then
            f"if command -v flock >/dev/null; then\nmkdir -p -m 700 /run/recoverd\nexec 9>/run/recoverd/restore.lock\n"
            f"flock -w 100 9 || {complain(other)}\n"
            f"rm -rf {b}.[0-9]*\n{self.check()} && exit 0\nfi\n"
            f"{free}"
            f"if ! test -e {b}/whole; then\n"
            f'test "$(sha256sum {s} | cut -c 1-64)" = {self.sha256} || {complain(f"{self.snapshot} is not the snapshot that the plan names")}\n'
            f"found=$(etcd_tool {shlex.quote(self.minor)} {shlex.quote(self.image)}) || {complain(none)}\ntool=${{found#* * }}\n"
            + (f'case $found in *" yes "*) ;; *) {complain(lacks)} ;; esac\n' if self.bump else "")
            # its own directory for every run, where there is no flock
            + f"new={b}.$$\ntrap 'rm -rf \"$new\"; etcd_tool_done' EXIT\n"
            f'ETCDCTL_API=3 "$tool" snapshot restore {s} {flags}\ntest -e "$new/member/snap/db"\necho "$found" > "$new/whole"\n'
            f'chown -R "$(stat -c %u:%g {shlex.quote(self.data)})" "$new" 2>/dev/null || true\nsync\nrm -rf {b}\nmv "$new" {b}\nfi\n'
            # the restore took its time
            f"{free}mv {b}/member {m}\nrm -f {s}\ncat {b}/whole"
        )

    def check(self) -> str:
        b = shlex.quote(self.beside)
        return f"{{ test -e {b}/whole && test ! -e {b}/member && test -e {shlex.quote(f'{self.data}/member/snap/db')}; }}"


@dataclass(frozen=True, slots=True)
class AwaitRestored:
    """Wait until the member on the step's host serves what was restored: exactly these members, a new cluster, revision and keys."""

    names: tuple[str, ...]
    """Of all members."""
    revision: int
    """At least."""
    keys: int
    """At least, at that revision."""
    not_cluster: str
    """The old cluster's id."""
    kind: Literal["await-restored"] = "await-restored"
    repeatable = True

    def command(self) -> str:
        return (
            f"GET https://127.0.0.1:2379/health until true; member list {', '.join(self.names)}; cluster id not {self.not_cluster or 'as before'}; "
            f"revision >= {self.revision}; keys then >= {self.keys} (over the SSH tunnel)"
        )

    def lacks(self, view: EtcdView, keys: int | None) -> str:
        """What is not as wanted in what the member says of itself, in words; "" when all is. `keys`: those it had at `revision`."""
        missing = []
        if not view.healthy:
            missing.append(f"not healthy ({view.health_reason})")
        if not view.has_leader:
            missing.append("no leader")
        names = sorted(m.name or m.id for m in view.voters)
        if names != sorted(self.names) or len(view.voters) != len(view.members):
            missing.append(f"members {', '.join(names)} where {', '.join(self.names)} are expected")
        if view.cluster_id == self.not_cluster:
            missing.append(f"its cluster id is the old one, {view.cluster_id}")
        if view.revision < self.revision:
            missing.append(f"revision {view.revision}, and {self.revision} or more is expected")
        if keys is None or keys < self.keys:
            missing.append(f"keys {'unknown' if keys is None else keys}, and {self.keys} or more are expected")
        return ", ".join(missing)


@dataclass(frozen=True, slots=True)
class AddMember:
    """`member add`, asked of the member on the step's host; needs quorum. Done already when its URL is listed under another id than `without`."""

    peer_url: str
    learner: bool
    """As a learner, which has no vote until it has caught up (etcd from 3.4)."""
    without: str = ""
    """The id that the machine's member had before."""
    kind: Literal["add-member"] = "add-member"
    repeatable = True

    def command(self) -> str:
        body = json.dumps({"peerURLs": [self.peer_url], "isLearner": self.learner})
        return f"POST https://127.0.0.1:2379/v3/cluster/member/add {body} (over the SSH tunnel)"

    def added(self, view: EtcdView) -> str:
        """The new member's id; "" when it is not listed."""
        return next((m.id for m in view.members if self.peer_url in m.peer_urls and m.id != self.without), "")


@dataclass(frozen=True, slots=True)
class PromoteMember:
    """`member promote` for the learner with this peer URL, asked of the step's host again and again until it has caught up. Done when it votes."""

    peer_url: str
    kind: Literal["promote-member"] = "promote-member"
    repeatable = True

    def command(self) -> str:
        return f"POST https://127.0.0.1:2379/v3/cluster/member/promote for {self.peer_url} until etcd says that it is in sync (over the SSH tunnel)"


@dataclass(frozen=True, slots=True)
class DisarmAlarm:
    """Take back an alarm of a member, which need not be in the cluster any more, asked of the step's host. Done when it is not raised."""

    member_id: str
    """"" for those of all members."""
    alarm: Literal["CORRUPT", "NOSPACE"]
    kind: Literal["disarm-alarm"] = "disarm-alarm"
    repeatable = True

    def command(self) -> str:
        member, each = (f"{int(self.member_id, 16)}", "") if self.member_id else ("...", "for each member that has raised it ")
        body = f'{{"action": "DEACTIVATE", "memberID": "{member}", "alarm": "{self.alarm}"}}'
        return f"POST https://127.0.0.1:2379/v3/maintenance/alarm {body} {each}(over the SSH tunnel)"

    @property
    def about(self) -> str:
        """The alarm, in words."""
        return f"the alarm {self.alarm} of {f'member {self.member_id}' if self.member_id else 'any member'}"

    def raised(self, view: EtcdView) -> list[str]:
        """Ids of the members that have the alarm still, of those that it is about."""
        return [a.member_id for a in view.alarms if a.alarm == self.alarm and self.member_id in ("", a.member_id)]


def image_of(manifest: str) -> str:
    """The image of the first container of a manifest; "" where none is named."""
    found = re.search(r"^\s*(?:- )?image:\s*(\S+)", manifest, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else ""


def minor_of(manifest: str) -> str:
    """The minor version of the etcd that a manifest runs, as "3.4.", by its image's tag; "" where the tag tells none."""
    found = re.search(r"^\s*(?:- )?image:\s*\S*etcd:v?(\d+\.\d+\.)", manifest, flags=re.MULTILINE)
    return found[1] if found else ""


EtcdOperation = SendSnapshot | AwaitRestored | AddMember | PromoteMember | DisarmAlarm
"""What the bastion does; `RestoreSnapshot` is a script on the host."""
