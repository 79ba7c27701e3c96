"""APIs that others serve behind the API server, as metrics-server does, and that are away. Pure.

The API server itself is ready. A namespace that is deleted stays Terminating, since what is in it cannot be listed
whole, and whoever discovers what is served waits for what does not answer (kubernetes/kubernetes #60807, #83332).
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.question import Question
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import Unseen

LASTS = 60.0
"""Seconds: longer than a pod of it takes to be made anew, and an API server that has started to ask for it."""


def findings(scene: Scene) -> Iterator[Finding]:
    seen = scene.observation.api.aggregated
    if seen is None or isinstance(seen, Unseen) or scene.objects is None:
        return
    for view in seen:
        if (scene.age(view.since) or 0.0) < LASTS:
            continue
        namespace, _, service = view.service.partition("/")
        said = ": ".join(word for word in (view.reason, view.message) if word)
        yield Finding(
            Code.AGGREGATED_API_AWAY,
            view.name,
            f"The API {view.name}, which the service {view.service} is to serve, has not been available since "
            f"{view.since:%Y-%m-%d %H:%M} UTC: {said}. Meanwhile namespaces that are deleted stay Terminating, and "
            "kubectl and controllers are slow to discover what is served. Cure: see to its pods and whether the "
            f"control planes reach them (`kubectl -n {namespace} get endpoints {service}`, `kubectl -n {namespace} get "
            f"pods -o wide`); where it is gone for good: `kubectl delete apiservice {view.name}`.",
            (f"APIService {view.name}: condition Available is not True: {said}",),
            severity=Severity.WARNING,
        )


def aggregated(question: Question) -> str:
    """The API server listed its API services, and this one is not among those that are away."""
    seen = question.observation.api.aggregated
    if seen is None or isinstance(seen, Unseen):
        return f"its API services were not listed{f': {seen.reason}' if seen else ''}"
    away = question.subject in {view.name for view in seen}
    return f"{question.subject} was not seen to be available" if away else ""
