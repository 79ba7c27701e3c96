"""What a sweep still says in which recoverd itself was late."""

from __future__ import annotations

from dataclasses import replace

from recoverd.config import Deadlines
from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind
from recoverd.observe.late import with_behind, with_own
from tests.unit.builders import Cluster


def found(*, sure: bool, behind: float) -> set[str]:
    """Of a machine that does not answer, beside two that do."""
    cluster = Cluster(3, workers=1).powered_off("cp3")
    seen = cluster.observation()
    off = Unseen(UnseenKind.UNREACHABLE, "cp3 did not answer the connection attempt within 3 s", sure)
    late = with_behind(replace(seen, hosts={**seen.hosts, "cp3": off}), behind, Deadlines())
    return {f.code for f in diagnose(late, cluster.memory(), cluster.settings).findings}


def test_of_what_recoverd_came_too_late_for_nothing_is_concluded() -> None:
    assert Code.ETCD_MEMBER_DOWN in found(sure=False, behind=0.0)
    assert Code.ETCD_MEMBER_DOWN not in found(sure=False, behind=2.0)


def test_what_the_kernel_has_asked_for_in_vain_is_silent_however_late_recoverd_was() -> None:
    """Else a machine that is lost is never judged on a bastion that is always busy, and no approval for it is taken."""
    assert Code.ETCD_MEMBER_DOWN in found(sure=True, behind=2.0)


def test_a_server_of_an_etcd_elsewhere_is_not_silent_either() -> None:
    silent = Unseen(UnseenKind.TIMEOUT, "etcd at 10.99.9.12:2379, asked from cp1, did not answer within 3 s")
    late = with_own(with_behind(replace(Cluster(3).observation(), outside={"e": silent}), 2.0, Deadlines()))
    (view,) = late.outside.values()
    assert isinstance(view, Unseen) and view.kind is UnseenKind.OWN and silent.reason in view.reason
    assert view.reason in late.own


def test_an_api_server_on_a_machine_that_answers_is_not_silent_for_sure() -> None:
    seen = Cluster(3).api_down("cp3", health=EndpointHealth.TIMEOUT).observation()
    assert with_behind(seen, 2.0, Deadlines()).api.members["cp3"].health is EndpointHealth.NOT_TRIED


def test_what_lasts_is_told_before_that_recoverd_was_late() -> None:
    """An operator is told the first alone, and how many more there are."""
    seen, why = Cluster(3).observation(), "prod.kubeconfig cannot be used: its certificate is no certificate"
    blind = replace(seen, api=replace(seen.api, objects=Unseen(UnseenKind.OWN, why)))
    told = with_own(with_behind(blind, 2.0, Deadlines())).own
    assert told[0] == why and any("late by 2.0 s" in each for each in told[1:])
