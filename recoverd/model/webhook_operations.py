"""What recoverd can do to an admission webhook that keeps writes away. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RELAXED = "recoverd.io/relaxed"
"""Annotation on a configuration of which recoverd has relaxed a webhook; its value is NAME=POLICY, as that was."""


@dataclass(frozen=True, slots=True)
class RelaxWebhook:
    """Set the failurePolicy of one webhook to Ignore, and note in an annotation what it was: refused where its
    configuration is no longer of the `version` (its resourceVersion) that the plan was made on.
    """

    plural: str
    """`validatingwebhookconfigurations` or `mutatingwebhookconfigurations`."""
    configuration: str
    webhook: str
    version: str
    kind: Literal["relax-webhook"] = "relax-webhook"
    repeatable = True

    def command(self) -> str:
        return (
            f"kubectl edit {self.plural} {self.configuration}: failurePolicy of {self.webhook} from Fail to Ignore  "
            f"(only at resourceVersion {self.version}; annotation {RELAXED}={self.webhook}=Fail)"
        )


@dataclass(frozen=True, slots=True)
class TightenWebhook:
    """Set it back to what the annotation says, and take that off. A policy that somebody has set meanwhile stays."""

    plural: str
    configuration: str
    webhook: str
    kind: Literal["tighten-webhook"] = "tighten-webhook"
    repeatable = True

    def command(self) -> str:
        return (
            f"kubectl edit {self.plural} {self.configuration}: failurePolicy of {self.webhook} from Ignore to what the "
            f"annotation {RELAXED} says, which is taken off"
        )


@dataclass(frozen=True, slots=True)
class AwaitService:
    """Wait until a service, NAMESPACE/NAME, has an endpoint that is ready."""

    service: str
    kind: Literal["await-service"] = "await-service"
    repeatable = True

    def command(self) -> str:
        namespace, _, name = self.service.partition("/")
        return f"kubectl get -n {namespace} endpoints {name}, until it has an address that is ready"


WebhookOperation = RelaxWebhook | TightenWebhook | AwaitService
