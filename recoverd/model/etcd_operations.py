"""Giving etcd members data again: from a restore point, or from their peers. Data, as in `operations`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall
from recoverd.model.etcd import EtcdView
from recoverd.model.places import own_container


@dataclass(frozen=True, slots=True)
class SendSnapshot(HostCall):
    """Send a restore point's snapshot from the bastion to the step's host, whole and with its hash
    checked there, or leave nothing.
    """

    source: str
    sha256: str
    size: int
    """Bytes."""
    target: str
    kind: Literal["send-snapshot"] = "send-snapshot"
    repeatable = True

    def call(self) -> Call:
        """It takes the file from its stdin."""
        return Call.of(
            "receive_snapshot", self.target, self.sha256, self.size, does=f"from {self.source} on the bastion, over SSH"
        )

    def check(self) -> Call:
        return Call.of("has_hash", self.target, self.sha256)


@dataclass(frozen=True, slots=True)
class RestoreSnapshot(HostCall):
    """Make a member's data of a snapshot on the step's host, in the place where etcd looks for it. Nothing may
    be there, and no etcd may run.

    Made beside that place and renamed in, so that what is there is whole. With `bump`, revisions go on that far above
    the snapshot's, and older ones count as compacted: whoever watches is told to list anew (etcd's disaster recovery
    guide; etcdctl from 3.4.27 and 3.5.10).
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

    def call(self) -> Call:
        words = (self.name, self.peer_url, self.cluster, self.token, self.bump, self.minor, self.image)
        return Call.of(
            "restore_snapshot",
            self.snapshot,
            self.sha256,
            self.data,
            *words,
            does=f"etcdctl snapshot restore {self.snapshot}",
        )

    def check(self) -> Call:
        return Call.of("restored", self.beside, self.data)


@dataclass(frozen=True, slots=True)
class AwaitRestored:
    """Wait until the member on the step's host serves what was restored: exactly these members, a
    new cluster, revision and keys.
    """

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
            f"GET https://127.0.0.1:2379/health until true; member list {', '.join(self.names)}; cluster id not "
            f"{self.not_cluster or 'as before'}; "
            f"revision >= {self.revision}; keys then >= {self.keys} (over the SSH tunnel)"
        )

    def lacks(self, view: EtcdView, keys: int | None) -> str:
        """What is not as wanted in what the member says of itself, in words; "" when all is.
        `keys`: those it had at `revision`.
        """
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
    """`member add`, asked of the member on the step's host; needs quorum. Done already when its URL is listed
    under another id than `without`.
    """

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
    """`member promote` for the learner with this peer URL, asked of the step's host again and again until it has
    caught up. Done when it votes.
    """

    peer_url: str
    kind: Literal["promote-member"] = "promote-member"
    repeatable = True

    def command(self) -> str:
        return (
            f"POST https://127.0.0.1:2379/v3/cluster/member/promote for {self.peer_url} until etcd says that it is in "
            "sync (over the SSH tunnel)"
        )


@dataclass(frozen=True, slots=True)
class DisarmAlarm:
    """Take back an alarm of a member, which need not be in the cluster any more, asked of the step's
    host. Done when it is not raised.
    """

    member_id: str
    """"" for those of all members."""
    alarm: Literal["CORRUPT", "NOSPACE"]
    kind: Literal["disarm-alarm"] = "disarm-alarm"
    repeatable = True

    def command(self) -> str:
        member, each = (
            (f"{int(self.member_id, 16)}", "") if self.member_id else ("...", "for each member that has raised it ")
        )
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
    """The image of the component that a manifest is for; "" where none is named."""
    if (own := own_container(manifest)) is not None:
        return str(own.get("image") or "")
    found = re.search(r"^\s*(?:- )?image:\s*(\S+)", manifest, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else ""


def minor_of(manifest: str) -> str:
    """The minor version of the etcd that a manifest runs, as "3.4.", by its image's
    tag; "" where the tag tells none.
    """
    found = re.search(r"^\s*(?:- )?image:\s*\S*etcd:v?(\d+\.\d+\.)", manifest, flags=re.MULTILINE)
    return found[1] if found else ""


EtcdOperation = SendSnapshot | AwaitRestored | AddMember | PromoteMember | DisarmAlarm
"""What the bastion does; `RestoreSnapshot` is a script on the host."""
