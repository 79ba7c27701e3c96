"""What is asked of a sweep when a finding is not in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.catalogue import ends_of, host_in
from recoverd.model.finding import Diagnosis
from recoverd.model.observation import Observation


@dataclass(frozen=True, slots=True)
class Question:
    """One finding of which it is asked whether it is gone."""

    subject: str
    diagnosis: Diagnosis
    observation: Observation

    @property
    def host(self) -> str:
        """The machine or node that it is about, the first of a path FROM>TO; "" for one of the whole cluster."""
        return host_in(self.subject)

    @property
    def ends(self) -> tuple[str, ...]:
        """The node, or both of a path."""
        return ends_of(self.subject)

    def machine_of(self, end: str) -> str:
        """The machine that is one of these nodes, as far as that is known."""
        roll = self.diagnosis.roll
        return roll.hosts.get(end, end) if roll else end
