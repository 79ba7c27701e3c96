"""An API server that calls itself ready and refuses what everybody needs: by admission webhooks that fail closed, and
by quotas. Pure.

Proven by its own words alone, and not before it has said so twice: a webhook's pods may be on their way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import HEARTBEAT, TryView

TWICE = 2
WHY = (
    (
        r"x509: certificate (?:has expired|is not valid any)|x509: .*not yet valid",
        "its certificate is over, not valid yet, or not for its service: have it made anew (cert-manager's "
        "`Certificate`, or the job that came with the webhook)",
    ),
    (
        r"x509: ",
        "its caBundle is not the CA that has signed its certificate: see to what writes it (cert-manager's cainjector, "
        "or the job that came with the webhook)",
    ),
    (r"no endpoints available", "no pod behind its service is ready"),
    (r"service \S+ not found", "its service is not there, as where it was uninstalled and its configuration stayed"),
    (
        r"deadline exceeded|i/o timeout|Client\.Timeout|no route to host",
        "it does not answer in time: see whether the control planes reach its pods at that port (a firewall, the pod "
        "network there), and how busy it is",
    ),
    (r"connection refused", "nothing listens where its service leads"),
)
"""What the API server says beside it, and what that means; the first counts."""


def findings(scene: Scene) -> Iterator[Finding]:
    if not scene.api_ready or scene.foreign_kubeconfig:
        return
    tries = scene.observation.api.tries
    refused = {k: v for k, v in tries.items() if isinstance(v, TryView) and not v.accepted and v.times >= TWICE}
    for name in dict.fromkeys(v.webhook for v in refused.values() if v.webhook):
        yield _webhook(name, {k: v for k, v in refused.items() if v.webhook == name})
    for name in dict.fromkeys(v.quota for v in refused.values() if v.quota):
        yield _quota(name, {k: v for k, v in refused.items() if v.quota == name})
    unseen = {k: v for k, v in tries.items() if isinstance(v, Unseen) and v.kind not in PASSING}
    if unseen:
        yield Finding(
            Code.SOURCE_UNSEEN,
            "writes",
            f"Whether the API server takes a {' or a '.join(unseen)} could not be tried, so an admission webhook that "
            "fails would not be found. config/rbac-canary.yaml allows it; `canary: {every: 0}` is for doing without.",
            tuple(f"{kind}, by dry run: {view.reason}" for kind, view in unseen.items()),
            severity=Severity.NOTICE,
        )


PASSING = frozenset({UnseenKind.TIMEOUT, UnseenKind.UNREACHABLE})
"""Kinds that a moment's load explains, and that need nobody."""


def _webhook(name: str, refused: dict[str, TryView]) -> Finding:
    made = [kind for kind in refused if kind != HEARTBEAT]
    what = [f"no {' and no '.join(made)} be made"] if made else []
    if HEARTBEAT in refused:
        what.append("no kubelet renew the lease of its node, by which all nodes are called not Ready within a minute")
    return Finding(
        Code.ADMISSION_WEBHOOK_FAILS,
        name,
        f"The API server lets {' and '.join(what)}: it cannot ask the admission webhook {name}, which fails closed. "
        "What ends is not made anew, and nodes must not be drained meanwhile. Where its pods are kept away by it as "
        "well: set its failurePolicy to Ignore until they run (kubectl edit validatingwebhookconfigurations, or "
        f"mutating).{_why(refused)}",
        _evidence(refused),
        state=State.APISERVER_DOWN,
    )


def _why(refused: dict[str, TryView]) -> str:
    said = " ".join(view.said for view in refused.values())
    return next((f" Why, by the API server's words: {why}." for says, why in WHY if re.search(says, said)), "")


def _quota(name: str, refused: dict[str, TryView]) -> Finding:
    return Finding(
        Code.QUOTA_USED_UP,
        name,
        f"The quota {name} is used up: no {' and no '.join(refused)} can be made there. Raise it, or delete what is "
        f"not needed (kubectl describe quota -n {name.partition('/')[0]}).",
        _evidence(refused),
        severity=Severity.WARNING,
    )


def _evidence(refused: dict[str, TryView]) -> tuple[str, ...]:
    return tuple(f"a {kind}, by dry run: {view.said}" for kind, view in refused.items())
