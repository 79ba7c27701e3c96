"""What a playbook is: it looks at a situation and proposes exact steps, waits, or refuses with a reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from recoverd.diagnose.scene import Scene
from recoverd.model.etcd import EtcdView
from recoverd.model.finding import Diagnosis, Finding, FindingKey
from recoverd.model.memory import Memory
from recoverd.model.observation import HostView, Observation
from recoverd.model.plan import Plan, Step
from recoverd.model.record import Declined, SharedFault
from recoverd.model.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a playbook may look at. `confirmed` are the faults seen in enough consecutive
    sweeps, most fundamental first.
    """

    now: datetime
    incident: str
    settings: ClusterSettings
    observation: Observation
    diagnosis: Diagnosis
    memory: Memory
    confirmed: tuple[Finding, ...]
    since: Mapping[FindingKey, datetime] = field(default_factory=dict)
    """When each fault was first seen without a gap."""
    nodes: tuple[str, ...] = ()
    """Nodes that a person named with `recoverctl run --node`; empty means: as the findings say."""
    by_hand: bool = False
    """A person asked for it, so patience and earlier refusals by a person do not apply."""
    declined: tuple[Declined, ...] = ()
    """Remedies that failed in this incident or that a person rejected, unless that was acknowledged."""
    ran: int = 0
    """Plans that were begun in this incident."""
    point: str = ""
    """Id of the restore point that a person named with `recoverctl run --point`; "" leaves it to the playbook."""
    mark: str = ""
    """`Record.mark`."""
    unended: Mapping[FindingKey, str] = field(default_factory=dict)
    """What the incident was opened for and this sweep neither finds nor shows to be gone, and why."""
    fault_since: datetime | None = None
    """`Incident.fault_since` of the open one; None where there is none."""
    plan: Plan | None = None
    """The open one. What it has chosen among equals is chosen again while it will do: who is the leader, or healthy,
    is another one from moment to moment on a machine under load, and a plan that changes with it cannot be approved.
    """
    shared: tuple[SharedFault, ...] = ()
    """What is the same on all machines of a kind, and why nobody is asked to reboot them for it."""
    unseen: Mapping[str, datetime] = field(default_factory=dict)
    """Hosts that could not be looked at in this sweep, each with the beginning of the first sweep
    without a gap in which it could not.
    """

    @property
    def name(self) -> str:
        """The incident as it stands in names on hosts: a journal that begins anew, or another bastion's,
        counts incidents from one as well.
        """
        return f"{self.incident}-{self.mark}" if self.mark else self.incident

    @property
    def kept(self) -> str:
        """What a plan made now puts into the names of all that it keeps aside: no other plan has the same.

        A second plan of the incident finds something else than the first did, and must not take that away without a
        copy, nor put the first one's copy back.
        """
        return f"{self.name}-{self.ran + 1}" if self.ran else self.name

    def spent(self, playbook: str) -> frozenset[FindingKey]:
        """The findings for which a playbook has been tried in vain or was rejected: the next rung of
        a ladder may be taken for them.
        """
        return frozenset(key for d in self.declined if d.playbook == playbook for key in d.basis)

    def chosen(self, *operations: type) -> str:
        """The host on which the open plan does the first of these operations; "" where it does none."""
        steps = self.plan.steps if self.plan else ()
        return next((s.host for s in steps if isinstance(s.operation, operations)), "")

    def host(self, name: str) -> HostView | None:
        view = self.observation.hosts.get(name)
        return view if isinstance(view, HostView) else None

    def etcd(self, name: str) -> EtcdView | None:
        view = self.observation.etcd.get(name)
        return view if isinstance(view, EtcdView) else None

    @property
    def etcd_views(self) -> dict[str, EtcdView]:
        return {name: view for name, view in self.observation.etcd.items() if isinstance(view, EtcdView)}

    @property
    def scene(self) -> Scene:
        """The same as a diagnosis sees it."""
        return Scene(self.observation, self.memory, self.settings)

    def seen_since(self, *keys: FindingKey) -> datetime:
        """Since when the first of these that this sweep finds is seen without a gap, or since now where it is not
        confirmed yet. Where none of them is found, since the fault was first seen that the incident was opened for.

        What is waited for has to come to an end: a wait that is counted from now is as long in every sweep.
        """
        for code, subject in keys:
            if (code, subject) in self.since:
                return self.since[code, subject]
            if any(f.key == (code, subject) for f in self.diagnosis.faults):
                return self.now
        return self.fault_since or self.now

    def age(self, finding: Finding) -> float:
        """Seconds that the finding has been seen without a gap."""
        since = self.since.get(finding.key)
        return (self.now - since).total_seconds() if since else 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a playbook would do; the machine makes a `Plan` of it."""

    summary: str
    steps: tuple[Step, ...]
    basis: tuple[FindingKey, ...]
    evidence: tuple[str, ...]
    destroys: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    resolves: tuple[FindingKey, ...] = ()
    """Empty means: the basis."""
    verify_within: float = 60.0
    rounds: int = 1
    """How often the bound `plan_deadline` is granted: once for each group of nodes that a rolling plan takes."""
    moving: float = 0.0
    """Seconds more than the bound `plan_deadline`, for what it moves by its size."""
    own_point: bool = False
    """It goes back to a restore point itself, so none is taken before it: what is there now
    must not become the newest one.
    """
    point: bool = False
    """A restore point is taken before it, though it destroys nothing by itself."""
    valid_until: datetime | None = None
    """When its approval ends; None for the bound `plan_expiry`. For a plan that is offered while the cluster is
    healthy, which is in no hurry.
    """
    destructive: bool = False
    """True when this very plan can lose data, by what was chosen for it; then it is treated as
    one of a destructive playbook.
    """
    asks: str = ""
    """Why a person is asked before it, whatever the configuration says: somebody may have made it so on purpose. ""
    where nothing speaks for that.
    """


@dataclass(frozen=True, slots=True)
class Refusal:
    """The playbook is for this finding and must not be run: why, and what a person can do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: the finding often goes away by itself. Asked again at every sweep."""

    reason: str


Answer = Proposal | Refusal | Wait | None


class Playbook(Protocol):
    """One remediation. `PLAYBOOK` of a module in this package registers it."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str:
        """One line for `recoverctl`."""
        ...

    @property
    def destructive(self) -> bool:
        """True when it can lose data or history; never run unasked then, whatever the configuration says."""
        ...

    @property
    def order(self) -> int:
        """Among playbooks for the same finding, the lowest is asked first: the simple and local thing."""
        ...

    @property
    def repairs(self) -> frozenset[str]:
        """Finding codes it is for."""
        ...

    def propose(self, finding: Finding, situation: Situation) -> Answer: ...


@runtime_checkable
class ForNodes(Playbook, Protocol):
    """One that reads `Situation.nodes` itself. The others are shown, when somebody named nodes,
    nothing but the findings about these.
    """

    @property
    def for_nodes(self) -> bool: ...


@runtime_checkable
class Askable(Playbook, Protocol):
    """One that a person may ask for where nothing is found that it repairs: what is
    wrong there, only a person can say.
    """

    def asked(self, situation: Situation) -> Answer: ...
