"""APIs that others serve behind the API server, and that are away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.codec import dump, load
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.observation import ApiView, Observation, Unseen, UnseenKind
from recoverd.model.witness import AggregatedView
from tests.unit.builders import Cluster

NAME = "v1beta1.metrics.k8s.io"
WHY = ("MissingEndpoints", 'endpoints for service/metrics-server in "kube-system" have no addresses')


def seen(aggregated: tuple[AggregatedView, ...] | Unseen | None) -> Observation:
    observation = Cluster(1, 2).observation()
    return replace(observation, api=replace(observation.api, aggregated=aggregated))


def away(seconds: float) -> tuple[AggregatedView, ...]:
    since = Cluster(1, 2).now - timedelta(seconds=seconds)
    return (AggregatedView(NAME, "kube-system/metrics-server", *WHY, since),)


def judged(observation: Observation) -> Diagnosis:
    cluster = Cluster(1, 2)
    return diagnose(observation, cluster.memory(), cluster.settings)


def test_one_that_stays_away_is_a_warning_in_the_words_of_the_api() -> None:
    diagnosis = judged(seen(away(61)))
    assert [(f.code, f.subject, f.severity) for f in diagnosis.findings] == [
        (Code.AGGREGATED_API_AWAY, NAME, Severity.WARNING)
    ]
    (warned,) = diagnosis.findings
    for word in (*WHY, "kube-system/metrics-server", "stay Terminating", f"`kubectl delete apiservice {NAME}`"):
        assert word in warned.message
    assert diagnosis.state is State.HEALTHY
    assert judged(seen(away(59))).findings == (), "a pod of it may be made anew"


def test_where_they_may_not_be_listed_nothing_is_said() -> None:
    """As where config/rbac.yaml of before is applied."""
    denied = Unseen(UnseenKind.DENIED, "the API server answered HTTP 403 Forbidden when asked for its API services")
    for unseen in (denied, None):
        diagnosis = judged(seen(unseen))
        assert diagnosis.findings == () and diagnosis.state is State.HEALTHY


def test_it_is_gone_only_where_they_were_listed_without_it() -> None:
    denied = Unseen(UnseenKind.DENIED, "HTTP 403")
    for view, gone in (((), True), (away(5), False), (denied, False), (None, False)):
        observation = seen(view)
        why = doubt([(Code.AGGREGATED_API_AWAY, NAME)], judged(observation), observation)
        assert (why == "") is gone


def test_it_is_written_and_read_again() -> None:
    view = seen(away(61)).api
    assert load(ApiView, dump(view)) == view
