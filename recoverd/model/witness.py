"""What shows that an API server which calls itself ready is of use: who leads, and what becomes of a write. Pure.

/readyz asks neither an admission webhook nor a controller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

LED = ("kube-controller-manager", "kube-scheduler")
"""Of each of which one replica works, and holds a Lease of its name in kube-system meanwhile."""

LASTS = 15.0
"""Seconds of --leader-elect-lease-duration where nobody has chosen another."""


@dataclass(frozen=True, slots=True)
class LeadView:
    """The Lease by which the replicas of a controller agree on which of them works."""

    holder: str
    """As the holder writes it: its machine's host name, `_`, and a part by chance; "" where nobody holds it."""
    renewed_at: datetime | None
    """By the clock of the machine that holds it."""
    asked_at: datetime
    """By the clock of the API server that answered (its `Date`)."""
    unchanged: float | None = None
    """Seconds, by a clock that nobody sets, in which every look found it as it is: 0.0 where it was
    renewed since the look before, None where there was none to compare with.
    """
    lasts: float = LASTS
    """Seconds after which another replica takes it, as its holder has written (`leaseDurationSeconds`)."""

    @property
    def host(self) -> str:
        """The host name of the machine that holds it."""
        return self.holder.partition("_")[0]

    @property
    def old(self) -> float:
        """Seconds since it was renewed, as the API server's clock has it; infinite where it never was."""
        return (self.asked_at - self.renewed_at).total_seconds() if self.renewed_at else float("inf")


@dataclass(frozen=True, slots=True)
class UntriedPods:
    """Pods for the default scheduler that have no node, and of which it has not said yet that it found none."""

    count: int = 0
    longest: float = 0.0
    """Seconds since the first of them was made, by the API server's clock."""
    names: tuple[str, ...] = ()
    """NAMESPACE/NAME of some of them, those that wait longest first."""


@dataclass(frozen=True, slots=True)
class AggregatedView:
    """An API that a service behind the API server is to serve, and does not, by its APIService."""

    name: str
    """As `v1beta1.metrics.k8s.io`."""
    service: str
    """NAMESPACE/NAME."""
    reason: str
    message: str
    since: datetime
    """When recoverd first saw it so, and in every look after that."""


HEARTBEAT = "heartbeat"
TRIED = ("pod", "lease", HEARTBEAT)
"""What is tried: to make a pod, which kubelets, controllers and people all need; to make a lease; and to change one
beside those of the nodes, as each kubelet does every ten seconds. Webhooks are told of what is made and of what is
changed by rules of their own, and often leave kube-system out and not the nodes' namespace.
"""


@dataclass(frozen=True, slots=True)
class TryView:
    """What the API server said to a write that it was asked to try and not to make (`dryRun=All`).

    Only what it says by itself of a webhook that fails, or of a quota that is used up, is a refusal; whatever else
    keeps such a write away (RBAC, a policy, a webhook that knows no dry run) leaves it unseen.
    """

    accepted: bool
    webhook: str = ""
    """Name of the admission webhook that it could not ask, and that fails closed."""
    quota: str = ""
    """Name of the quota that leaves no room."""
    itself: str = ""
    """Its own words where it could not ask itself, by the certificate that it makes for that at its start."""
    said: str = ""
    """In its own words."""
    times: int = 1
    """How often on end it has said so of the same one, each time asked anew."""

    @property
    def refuser(self) -> tuple[str, str, bool]:
        return self.webhook, self.quota, bool(self.itself)


HOOKS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")


@dataclass(frozen=True, slots=True)
class WebhookView:
    """One admission webhook that fails, and the configuration that it stands in."""

    plural: str
    """Of what its configuration is, as in `HOOKS`."""
    configuration: str
    name: str
    version: str
    """resourceVersion of the configuration."""
    policy: str
    """`Fail` or `Ignore`."""
    service: str = ""
    """NAMESPACE/NAME; "" where it is asked by a URL."""
    ready: bool | None = None
    """Whether its service has an endpoint that is ready; None where that could not be told."""
    owner: str = ""
    """What keeps the configuration and would write it anew; "" where nothing says that anything does."""

    def serving(self, ready: bool) -> WebhookView:
        return replace(self, ready=ready)
