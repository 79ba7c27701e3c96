"""What is offered while the cluster is healthy: a plan for what a warning says, which waits for a person and is never run unasked.

The cluster stays `healthy` while it waits. Approved, it becomes an incident of the state `maintenance`, which is over when the cluster is healthy
again, whether the plan succeeded or not; a fault that comes to light meanwhile makes it an incident of that fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from recoverd.diagnose.absence import unproven
from recoverd.machine.replanning import Replanning
from recoverd.memory.pki import pki_of
from recoverd.model.events import Kept, SaveIncident
from recoverd.model.finding import State
from recoverd.model.observation import HostView
from recoverd.model.pki_operations import KEPT, KeepPki
from recoverd.model.plan import Incident, Plan
from recoverd.model.settings import Approval

AGAIN = 600.0
"""Seconds after which a copy that was not made is tried again."""
KEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Copying:
    """A copy that was asked for."""

    target: str
    asked_at: datetime
    made_at: datetime | None = None


class Maintaining(Replanning):
    """The part of the machine that is at work in `healthy`."""

    _copying: dict[str, Copying]
    """By host; forgotten with the process, as making a copy twice does nothing."""

    def _maintain(self) -> None:
        """One more sweep that found the cluster healthy, with no incident open."""
        assert self.diagnosis is not None and self.observation is not None
        keys = self.diagnosis.keys
        blind = unproven((k for d in self.record.declined for k in d.basis if k not in keys), self.diagnosis, self.observation)
        self._set(declined=tuple(d for d in self.record.declined if set(d.basis) & {*keys, *blind}))
        choice = self._choice()
        if choice is None:
            return
        if choice.playbook is None or choice.proposal is None:
            self._explain("; ".join(choice.reasons), "waiting")
            return
        self._offer(choice.playbook, choice.proposal, declined=choice.declined)

    def _open_maintenance(self, plan: Plan) -> None:
        """The incident that an approved plan belongs to, when there is none yet."""
        incident = Incident(
            id=plan.incident,
            cluster=self.settings.name,
            state=State.MAINTENANCE,
            summary=plan.summary,
            opened_at=self.now,
            fault_since=self.now,
            maintenance=True,
        )
        self._set(incident=incident, plans=1, calm_sweeps=0)
        self._emit(SaveIncident(incident))

    # --- copies of what is good ---

    def _keep_copies(self) -> None:
        """See that each control plane has a copy of the certificates that it is known to be healthy with, for `restore-pki`.

        A copy counts when a sweep that began after it was made still finds just what it is named after.
        """
        if (
            self.record.pause
            or self.observation is None
            or self._forbidden(unasked=True)
            or self.settings.approval_of("restore-pki") is Approval.NEVER
        ):
            return
        for host, known in self.memory.pki.items():
            view = self.observation.hosts.get(host)
            now = pki_of(view, known, self.now) if isinstance(view, HostView) and not known.kept else None
            if now is None or not now.alike(known):
                continue
            target, asked = f"{KEPT}/{known.digest}", self._copying.get(host)
            if asked and asked.target == target and asked.made_at:
                if self.observation.started_at >= asked.made_at:
                    self.memory = replace(self.memory, pki={**self.memory.pki, host: replace(known, kept=target)})
                    self._note("pki-kept", f"{host} keeps a copy of its certificates, keys and kubeconfigs in {target}, for root only")
            elif asked is None or asked.target != target or (self.now - asked.asked_at).total_seconds() >= AGAIN:
                self._copying = {**self._copying, host: Copying(target, self.now)}
                self._keep(host, f"keep the certificates of {host} in {target} there", KeepPki(target, prune=True), KEEP_SECONDS)

    def _kept(self, event: Kept) -> None:
        asked = self._copying.get(event.host)
        if asked is None or asked.target != event.operation.target:
            return
        if event.result.ok:
            self._copying = {**self._copying, event.host: replace(asked, made_at=event.at)}
        else:
            self._note("pki-not-kept", f"{event.result.detail}. Until it is, restore-pki has nothing to put back on {event.host}; tried again later")
