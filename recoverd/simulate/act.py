"""Carries operations out on the model, as data: the text of a command is never read."""

from __future__ import annotations

from recoverd.model.effects import LOOKS_FIRST
from recoverd.model.node_operations import Reboot
from recoverd.model.observation import Unseen
from recoverd.model.operations import CopyPath, MovePath, Operation, WriteFile
from recoverd.model.plan import StepResult
from recoverd.simulate import (  # noqa: F401  each names its hands
    act_etcd,
    act_host,
    act_network,
    act_nodes,
    act_pki,
    act_pod_files,
    act_proxy,
    act_restore,
    act_space,
    act_webhooks,
    joining,
)
from recoverd.simulate.carry import HANDS, Carry, Write
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.guarded import refused
from recoverd.simulate.look import unreachable


class Hands:
    """One operation on one machine of the model: `attempt` is asked again and again until it is ok, or for
    good, or the step's time is over.
    """

    def __init__(
        self, cluster: ModelCluster, name: str, operation: Operation, *, resume: bool, ask: bool = False
    ) -> None:
        self._name = name
        self._operation = operation
        self._hand = HANDS.get(type(operation))
        self._at = Carry(cluster, name, resume, ask)
        self.unbegun = False
        """Nothing was begun in the newest attempt, since the machine was not reached."""

    @property
    def waits(self) -> bool:
        """Its failure is only "not yet"."""
        return self._hand is not None and self._hand.waits(self._operation) and not self._at.over

    @property
    def due(self) -> Write | None:
        """What the last attempt wants to be journalled and made before the next one; given once."""
        due, self._at.due = self._at.due, None
        return due

    def attempt(self) -> StepResult:
        operation, hand, at = self._operation, self._hand, self._at
        self.unbegun = False
        if hand is None:
            return StepResult(
                False,
                f"the model does not know how to do this on {self._name}: {operation.command()[:80]}",
                uncertain=True,
            )
        if at.ask and isinstance(operation, LOOKS_FIRST):
            return StepResult(False, "whether it has been done is looked at when it is begun once more", undone=True)
        if hand.on_machine:
            if (unseen := unreachable(at.cluster, at.machine)) is not None:
                self.unbegun = not at.ask
                return self._unreached(unseen)
            if at.ask and hand.lacking(operation, at):
                return StepResult(False, f"on {self._name} it has not been done yet", undone=True)
            if hand.guarded and (why := self._guard()):
                return at.refused(why)
        return hand.attempt(operation, at)

    def _unreached(self, unseen: Unseen) -> StepResult:
        if self._at.ask and isinstance(self._operation, Reboot):
            return StepResult(
                True, f"{self._name} cannot be reached ({unseen.reason}): it may be going down", already_done=True
            )
        if self._at.ask:
            return StepResult(
                False, f"whether it was done on {self._name} cannot be told: {unseen.reason}", uncertain=True
            )
        return StepResult(
            False,
            f"it was not begun: {unseen.reason}. Nothing was changed; make the host reachable for recoverd",
            untouched=True,
        )

    def _guard(self) -> str:
        """As the scripts do it: where it has been done already, or is at work, nothing is refused any more."""
        operation, at = self._operation, self._at
        done = isinstance(operation, WriteFile | MovePath | CopyPath) and not HANDS[type(operation)].lacking(
            operation, at
        )
        return "" if done or at.began is not None else refused(at.machine, operation)
