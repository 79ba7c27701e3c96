"""kube-controller-manager and kube-scheduler: nobody notices at once when they are gone, or run and do nothing, and
everything slowly goes wrong. Pure.

That none runs is a warning and no fault: what ends them (a manifest, a certificate, an API server that does not serve)
is a fault of its own where it can be proven. That they run and do not lead is one: nothing else shows it, as where
their certificate was renewed and they have the old one in memory (kubernetes/kubernetes #20381). A scheduler that
leads and has lost what it hears of pods renews its lease all the same: they wait for hours without one event, until it
is started anew (kubernetes/kubernetes #102790, #104521, #119967).
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose import words
from recoverd.diagnose.manifests import up
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import NetworkView
from recoverd.model.observation import ContainerView, HostView
from recoverd.model.text import utc
from recoverd.model.witness import LASTS, LED, LeadView, TryView, UntriedPods

MANAGER, SCHEDULER = LED
EFFECTS = {
    MANAGER: "services keep leading to pods that are gone, and what ends is not made anew",
    SCHEDULER: "new pods get no node",
}
LONG = 60.0
"""Seconds for which one of its containers must have run, and a lease must not have been renewed where it is one of 15 s
(--leader-elect-lease-duration); of one that lasts longer, as many more.
"""
UNTRIED = 180.0
"""Seconds after which a pod that the scheduler has not looked at is passed over: it looks at a hundred in a second.
"""
ELSEWHERE = ("--leader-elect=false", "--leader-elect-resource-")
"""What in a manifest says that its lease is another one, or none."""
BY_FILE = "--config="
"""A file of its own may say the same (`leaderElection`), which the manifest does not show."""


def findings(scene: Scene) -> Iterator[Finding]:
    if not scene.api_ready:
        return  # they end themselves without it
    for component, effect in EFFECTS.items():
        seen = {name: c for name in scene.parts if (c := scene.container(name, component)) is not None}
        if seen and len(seen) == len(scene.parts) and not any(c.running for c in seen.values()):
            yield _down(scene, component, effect, seen)
        elif (lead := scene.observation.api.leads.get(component)) and isinstance(lead, LeadView):
            running = {name: c for name, c in seen.items() if c.running}
            if _stands_still(scene, component, lead, running):
                yield _not_leading(scene, component, effect, lead, running)
            elif component == SCHEDULER and (waiting := _passed_over(scene, lead, running)):
                yield _idle(scene, lead, waiting, running)


def _down(scene: Scene, component: str, effect: str, seen: dict[str, ContainerView]) -> Finding:
    why = next((said for name in seen if (said := words.of_pod(scene, name, component)[0])), "")
    look = f" If that lasts, look on {' and '.join(seen)}: crictl ps -a --name {component}, then crictl logs."
    return Finding(
        Code.CONTROLLER_DOWN,
        component,
        f"No {component} runs on any control plane: {effect}.{why or look}",
        _words(scene, component, seen),
        severity=Severity.WARNING,
    )


def _stands_still(scene: Scene, component: str, lead: LeadView, running: dict[str, ContainerView]) -> bool:
    """Nobody renews it though somebody could: an etcd that takes no writes, or a webhook that lets no lease pass
    (kubernetes/kubernetes #90217), keeps everybody from it.
    """
    tried = scene.observation.api.tries.get("lease")
    hosts = [host for name in running if (host := scene.host(name))]
    ages = [scene.age(host.running_since(component)) for host in hosts]
    manifests = [m for host in hosts if (m := host.manifests.get(component))]
    network = scene.observation.network
    # nobody could renew it while the API server was away, and on a busy machine it takes more than half a minute
    back = scene.age(network.back_since) if isinstance(network, NetworkView) else None
    return (
        lead.unchanged is not None
        # clocks of machines differ: recoverd itself must have seen it stand still while another could have taken it
        and lead.unchanged >= 2 * lead.lasts
        and max(lead.old, lead.unchanged) >= LONG - LASTS + lead.lasts
        and (back is None or back >= LONG)
        and any(age is not None and age >= LONG for age in ages)
        and not any(flag in m.content for m in manifests for flag in ELSEWHERE)
        and (not any(BY_FILE in m.content for m in manifests) or _renewed_by(lead, component, hosts))
        and not any(view.alarms for view in scene.etcd_views.values())
        and not (isinstance(tried, TryView) and not tried.accepted)
    )


def _renewed_by(lead: LeadView, component: str, hosts: list[HostView]) -> bool:
    """Whether it is theirs beyond doubt: renewed since one of those that run was started."""
    began = [at for host in hosts if (at := host.running_since(component))]
    return lead.renewed_at is not None and any(at < lead.renewed_at for at in began)


def _not_leading(
    scene: Scene, component: str, effect: str, lead: LeadView, running: dict[str, ContainerView]
) -> Finding:
    since = f" since {utc(lead.renewed_at)}" if lead.renewed_at else ""
    held = f"held by {lead.holder}" if lead.holder else "held by nobody"
    return Finding(
        Code.CONTROLLER_NOT_LEADING,
        component,
        f"{component} runs on {' and '.join(running)} and does not lead: its lease has not been renewed{since}, so "
        f"{effect}.",
        (
            f"the lease kube-system/{component}: {held}, renewed at {lead.renewed_at or 'no time'}, "
            f"{lead.old:.0f} s ago by the API server's clock; "
            f"recoverd has seen it stand still for {lead.unchanged or 0:.0f} s",
            *_words(scene, component, running),
        ),
        state=State.APISERVER_DOWN,
        facts=Facts(lead.host if lead.host in running else next(iter(running))),
    )


def _passed_over(scene: Scene, lead: LeadView, running: dict[str, ContainerView]) -> UntriedPods | None:
    """The pods that it does not look at, where it leads beyond doubt and had time to look at them."""
    waiting, network = scene.observation.api.untried, scene.observation.network
    back = scene.age(network.back_since) if isinstance(network, NetworkView) else None
    ages = [scene.age(host.running_since(SCHEDULER)) for name in running if (host := scene.host(name))]
    leads = lead.unchanged is not None and lead.unchanged < lead.lasts and lead.old < LONG
    since = all(age is not None and age >= UNTRIED for age in ages) and (back is None or back >= UNTRIED)
    if isinstance(waiting, UntriedPods) and waiting.longest >= UNTRIED and leads and since and ages:
        return waiting
    return None


def _idle(scene: Scene, lead: LeadView, waiting: UntriedPods, running: dict[str, ContainerView]) -> Finding:
    at = lead.host if lead.host in running else next(iter(running)) if len(running) == 1 else ""
    pods = f"{waiting.count} pods, which have" if waiting.count > 1 else "a pod, which has"
    return Finding(
        Code.SCHEDULER_IDLE,
        SCHEDULER,
        f"{SCHEDULER} on {at or lead.holder} leads and does not look at {pods} been Pending for "
        f"{waiting.longest:.0f} s without a word of why.",
        (
            f"the lease kube-system/{SCHEDULER}: held by {lead.holder}, renewed {lead.old:.0f} s ago",
            f"without a node and without the condition PodScheduled: {', '.join(waiting.names)}",
            *_words(scene, SCHEDULER, running),
        ),
        state=State.APISERVER_DOWN,
        facts=Facts(at),
    )


def _words(scene: Scene, component: str, seen: dict[str, ContainerView]) -> tuple[str, ...]:
    return tuple(
        line
        for name, c in seen.items()
        for line in (f"{component} on {name}: {up(scene, c)}", *(f"it says: {x}" for x in c.log_tail[-3:]))
    )
