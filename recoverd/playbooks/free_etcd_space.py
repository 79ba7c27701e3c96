"""`free-etcd-space`: makes etcd take writes again when its database has reached its quota (the NOSPACE alarm).

Source: etcd's maintenance guide: compact the history, defragment one member after the other, take the alarm back.
Nothing compacts by itself any more: the API server notes its compactions in etcd, which takes no writes. While the
alarm is up kubelet's probe ends each etcd about every 80 s (kubeadm before 1.31, whose probe fails with the alarm) and
waits longer each time, so each is started first, and what is cut short is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.diagnose.disks import below_etcd
from recoverd.diagnose.etcd_space import biggest, space_used
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, accused, mib
from recoverd.model.etcd_operations import DisarmAlarm
from recoverd.model.finding import Finding
from recoverd.model.observation import HostView
from recoverd.model.places import flag
from recoverd.model.plan import Step
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment
from recoverd.model.unit_operations import Unstick
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.sizes import moving, sized

USABLE = 0.95
"""Share of the quota that objects may take for writes to go on for a while; above it there is nothing to free."""
PAGES = 1.05
"""What pages of the database take more than the keys and values in them, at the least."""
DEFAULT = 2 << 30
"""Bytes of quota where the flag is not given, or 0 (etcd's `DefaultQuotaBytes`); a negative one is none at all."""
UNLIMITED = 1 << 62
ROOM = 64 << 20
"""Bytes that have to be left on the disk beside."""
READING = 90.0
"""Seconds that are waited for it to be known what takes the space: on a busy machine it takes several sweeps,
and etcd is restarted meanwhile.
"""
LARGEST = 8 << 30
"""Bytes; the largest quota that etcd suggests (its maintenance guide)."""


@dataclass(frozen=True, slots=True)
class FreeEtcdSpace:
    name: str = "free-etcd-space"
    summary: str = "compact and defragment an etcd that has reached its quota, and take its alarm back"
    destructive: bool = False
    order: int = 20
    repairs: frozenset[str] = frozenset({Code.ETCD_NOSPACE})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        membership = situation.scene.membership
        members = {n: v for n, v in sorted(membership.camp.items()) if not v.learner and situation.host(n) is not None}
        if accused(membership.camp.values()):
            return Refusal(
                "etcd has raised the CORRUPT alarm as well: which member is right comes first, "
                "and none is compacted before"
            )
        if len(members) < membership.needed:
            return Refusal(
                f"etcd takes a compaction only with its quorum, and {len(members)} of "
                f"{len(membership.voters)} members are seen, "
                f"{membership.needed} are needed: see to the others first"
            )
        used = space_used(situation.scene)
        if not used and situation.age(finding) < READING and not situation.by_hand:
            return Wait(
                "what takes the space is being read, member by member: where objects themselves "
                "do, there is nothing to free"
            )
        live, quota = sum(use.size for use in used), min(_quota(situation.host(n)) for n in members)
        if live * PAGES > USABLE * quota and not situation.by_hand:
            return _nothing_to_free(live, quota, situation)
        return _no_room(members, live, situation) or self._plan(members, quota, finding, situation)

    @staticmethod
    def _plan(members: dict[str, EtcdView], quota: int, finding: Finding, situation: Situation) -> Proposal:
        size = max(v.db_size for v in members.values())
        most = int(USABLE * quota) if quota < UNLIMITED else 0
        away = [
            e.name or e.id
            for e in situation.scene.membership.voters
            if e.id not in {v.member_id for v in members.values()}
        ]
        in_turn = ", one after the other" if len(members) > 1 else ""
        return Proposal(
            summary=f"drop etcd's history, defragment it on {', '.join(members)}{in_turn}, and "
            "take its NOSPACE alarm back",
            steps=_steps(members, size, most, finding),
            basis=(finding.key,),
            evidence=(
                *finding.evidence,
                "every member is restarted by kubelet's probe again and again while the alarm "
                "is up (kubeadm before 1.31)",
                *(
                    f"{name} is not seen, and its database stays as large as it is: `etcdctl "
                    "defrag` there when it is back"
                    for name in away
                ),
            ),
            destroys=(
                "the history of every object before the present revision, as the API server drops it "
                "every 5 minutes; no object",
            ),
            undo=(
                "none is needed: no object is changed. The snapshot from before is kept in recoverd's state directory",
            ),
            verify_within=120.0,
            moving=moving(size) * (2 + len(members)),
        )


def _steps(members: dict[str, EtcdView], size: int, most: int, finding: Finding) -> tuple[Step, ...]:
    """A snapshot first; then compact once, defragment each member, and let them write again. `most`: bytes that a
    database may take afterwards, 0 for any.
    """
    first, requires = next(iter(members)), (finding.key,)
    voters = len(members[first].voters)
    follows = ", which follows by then" if len(members) > 1 else ""
    waits = "now if it waits in its crash-loop back-off"
    what = f"fetch a snapshot from {first} (revision {members[first].revision}) and check its hash"
    small = f", and see it take {mib(most)} or less" if most else ""
    return (
        *(Step(n, f"start etcd on {n} {waits}", Unstick("etcd", 1), 60.0, requires) for n in members),
        sized(Step(first, what, FetchSnapshot("before-free-etcd-space"), 180.0, requires), size),
        sized(Step(first, "drop the history of every object", Compact(), 180.0, requires), size),
        *(
            sized(Step(n, f"defragment etcd on {n}{follows}{small}", Defragment(most), 180.0, requires), size)
            for n in members
        ),
        Step(
            first,
            "take the alarm NOSPACE of all members back",
            DisarmAlarm("", "NOSPACE"),
            60.0,
            requires,
            commits=True,
        ),
        *(Step(n, f"see etcd on {n} healthy", AwaitEtcd(members=voters), 120.0) for n in members),
        *(Step(n, f"start the API server on {n} {waits}", Unstick("kube-apiserver", 1), 60.0) for n in members),
        *(Step(n, f"see the API server on {n} ready", AwaitApi(), 180.0) for n in members),
        Step(first, "see that etcd takes writes again", AwaitWrites(), 60.0),
    )


def _nothing_to_free(live: int, quota: int, situation: Situation) -> Refusal:
    """The objects themselves fill it: what dropping their history would free is used up by the next writes."""
    return Refusal(
        f"what etcd holds without any history takes about {mib(live)} of its quota of {mib(quota)}, so there is "
        "nothing to free. The most is taken "
        f"by: {'; '.join(biggest(situation.scene))}. Either fewer objects (`kubectl delete`, which etcd may refuse "
        "with the alarm up) or a greater "
        "quota: --quota-backend-bytes in /etc/kubernetes/manifests/etcd.yaml, one control plane after the other, "
        f"{LARGEST} (8 GiB) at the most. "
        f"`recoverctl run free-etcd-space {situation.settings.name}` makes the plan all the same; it stops "
        "where too little is freed"
    )


def _no_room(members: dict[str, EtcdView], live: int, situation: Situation) -> Refusal | None:
    """A database is defragmented into a file beside it, which is as large as what is in use."""
    for name, view in members.items():
        host = situation.host(name)
        disk, needed = below_etcd(host) if host else None, live or view.db_in_use
        if disk and disk.free < needed + ROOM:
            return Refusal(
                f"defragmenting writes what is in use once more, about {mib(needed)}, and {disk.path} on {name} "
                f"has {mib(disk.free)} free. "
                "Make room there first"
            )
    return None


def _quota(host: HostView | None) -> int:
    """As etcd's manifest has it: what a member tells of it may come too late in a sweep, and a plan has
    to be the same in the next one.
    """
    manifest = host.manifests.get("etcd") if host else None
    given = flag(manifest.content, "--quota-backend-bytes") if manifest else ""
    size = int(given) if given.removeprefix("-").isdigit() else 0
    return UNLIMITED if size < 0 else size or DEFAULT


PLAYBOOK = FreeEtcdSpace()
