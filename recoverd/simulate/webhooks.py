"""Admission webhooks of the model: what they keep away while they cannot be asked, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.witness import HEARTBEAT, TRIED, TryView

STARTS = 10.0
"""Seconds from when a webhook's own pods may be made until they serve."""
ASKED = 5.0
"""Seconds between two dry runs, once one was refused."""


@dataclass(slots=True)
class Webhook:
    """One webhook in a configuration of the same name."""

    name: str
    kind: str
    """Of what it is asked about, as in `TRIED`; its own pods are pods too."""
    since: float
    policy: str = "Fail"
    serves: bool = False
    free_since: float | None = None
    """Since when its pods, which are away, may be made."""
    version: int = 1
    """Of its configuration, counted up at each change."""
    was: str = ""
    """The policy before recoverd's, as the annotation has it."""

    @property
    def configuration(self) -> str:
        return self.name.partition(".")[0]

    @property
    def service(self) -> str:
        return f"default/{self.configuration}"

    @property
    def blocks(self) -> bool:
        return self.policy == "Fail" and not self.serves


class Webhooks:
    """All of the cluster's."""

    def __init__(self) -> None:
        self.all: dict[str, Webhook] = {}

    def blocking(self, kind: str) -> Webhook | None:
        return next((w for w in self.all.values() if w.kind == kind and w.blocks), None)

    def tick(self, now: float) -> None:
        """The pods that one has kept away itself are made once none does: while no heartbeat is let pass, no node is
        there for them.
        """
        free = self.blocking("pod") is None and self.blocking(HEARTBEAT) is None
        for hook in self.all.values():
            if hook.kind not in ("pod", HEARTBEAT) or hook.serves or not free:
                hook.free_since = None
            else:
                hook.free_since = now if hook.free_since is None else hook.free_since
                hook.serves = now - hook.free_since >= STARTS

    def tries(self, now: float) -> dict[str, TryView]:
        """What comes of each write that is tried, in the words of an API server of 1.20."""
        return {kind: self._tried(kind, now) for kind in TRIED}

    def _tried(self, kind: str, now: float) -> TryView:
        hook = self.blocking(kind)
        if hook is None:
            return TryView(True)
        service = hook.configuration
        said = (
            f'Internal error occurred: failed calling webhook "{hook.name}": Post '
            f'"https://{service}.default.svc:443/?timeout=5s": no endpoints available for service "{service}"'
        )
        return TryView(False, webhook=hook.name, said=said, times=1 + int((now - hook.since) // ASKED))
