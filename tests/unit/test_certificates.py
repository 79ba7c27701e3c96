"""Certificates: what is planned about them, when it is offered, what is taken back, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recoverd.config import windows as written
from recoverd.diagnose import diagnose
from recoverd.machine import ClusterMachine
from recoverd.memory.pki import MEANT, SETTLE, pki_of
from recoverd.memory.remember import Sights, remember
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.catalogue import Code
from recoverd.model.events import (
    Acknowledged,
    Approved,
    ChoreEnded,
    Instruction,
    Note,
    Observed,
    Paused,
    Perform,
    PerformChore,
    PlanRequested,
    Refused,
    Rejected,
    StepEnded,
)
from recoverd.model.finding import Severity, State
from recoverd.model.memory import ACCOUNTS_KEY, Memory
from recoverd.model.observation import CertificateView, EndpointHealth, HostView, PkiView
from recoverd.model.pki_operations import KEPT, KeepPki, PutBackPki, RenewLeaves, RepairKubeletClient
from recoverd.model.plan import Outcome, Plan, Step, StepResult
from recoverd.model.settings import MaintenanceSettings
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.pki import WITHOUT_QUORUM
from recoverd.playbooks.windows import next_open, open_until
from recoverd.simulate import pki
from recoverd.simulate.pki import Papers
from tests.unit.builders import NOW, Cluster

DAY = 86400.0
Change = Callable[[Papers], Papers]
AT = 0.0
"""NOW, as the model counts time."""


def same(papers: Papers) -> Papers:
    return papers


def soon(papers: Papers) -> Papers:
    return pki.dated(papers, 10 * DAY)


def over(papers: Papers) -> Papers:
    return pki.dated(papers, -60.0)


def front_proxy_made_anew(papers: Papers) -> Papers:
    return pki.remade(papers, AT, pki.PROXY_CA)


def all_made_anew(papers: Papers) -> Papers:
    return pki.remade(papers, AT, *pki.AUTHORITIES)


def papered(cluster: Cluster, *names: str, change: Change = same) -> Cluster:
    """Give these control planes what kubeadm makes, changed."""
    for name in names or cluster.joined:
        certificates, view = pki.views(change(pki.fresh()), name)
        cluster.host(name, certificates=certificates, pki=view)
    return cluster


def known(cluster: Cluster, kept: str = "/kept") -> Memory:
    """What recoverd remembers, the certificates with it."""
    papered(before := Cluster(len(cluster.joined)))
    of = {n: pki_of(v, None, NOW) for n, v in before.hosts.items() if isinstance(v, HostView)}
    return replace(cluster.memory(), pki={n: replace(k, kept=kept) for n, k in of.items() if k})


def situation(
    cluster: Cluster, *, memory: Memory | None = None, by_hand: bool = False, nodes: tuple[str, ...] = ()
) -> Situation:
    observation, memory = cluster.observation(), memory or known(cluster)
    diagnosis = diagnose(observation, memory, cluster.settings)
    confirmed = diagnosis.faults or diagnosis.warnings
    return Situation(
        observation.at,
        "prod-1",
        cluster.settings,
        observation,
        diagnosis,
        memory,
        confirmed,
        nodes=nodes,
        by_hand=by_hand,
    )


def asked(name: str, now: Situation) -> Answer:
    playbook = next(p for p in registry() if p.name == name)
    return playbook.propose(next(f for f in now.confirmed if f.code in playbook.repairs), now)


def proposed(name: str, now: Situation) -> Proposal:
    answer = asked(name, now)
    assert isinstance(answer, Proposal), answer
    return answer


def kinds(proposal: Proposal) -> list[tuple[str, str]]:
    return [(s.host, s.operation.kind) for s in proposal.steps]


# --- renew-certificates ---


def test_one_control_plane_after_the_other_and_each_seen_back_before_the_next() -> None:
    proposal = proposed("renew-certificates", situation(papered(Cluster(3), change=soon)))
    one = [
        "keep-pki",
        "renew-leaves",
        "restart-static-pod",
        "await-etcd",
        "restart-static-pod",
        "await-api",
        "restart-static-pod",
        "restart-static-pod",
    ]
    assert kinds(proposal) == [(host, kind) for host in ("cp1", "cp2", "cp3") for kind in one]
    assert [s.operation.members for s in proposal.steps if isinstance(s.operation, AwaitEtcd)] == [3, 3, 3]
    assert {s.host for s in proposal.steps if s.skip_unless} == {"cp1", "cp2", "cp3"} and proposal.rounds == 3


def test_only_the_control_planes_that_need_it() -> None:
    proposal = proposed("renew-certificates", situation(papered(papered(Cluster(3)), "cp2", change=soon)))
    assert {s.host for s in proposal.steps} == {"cp2"}


def test_where_etcds_certificates_are_over_everywhere_all_are_renewed_before_any_is_awaited() -> None:
    cluster = papered(Cluster(3), change=over).api_down(health=EndpointHealth.TLS)
    proposal = proposed("renew-certificates", situation(cluster))
    order = [(s.host, type(s.operation)) for s in proposal.steps]
    first_wait = next(i for i, (_, kind) in enumerate(order) if kind in (AwaitEtcd, AwaitApi))
    assert {h for h, kind in order[:first_wait] if kind is RenewLeaves} == {"cp1", "cp2", "cp3"}
    restarts = [s.operation.component for s in proposal.steps[:first_wait] if isinstance(s.operation, RestartStaticPod)]
    assert restarts == ["etcd", "etcd", "etcd"]


def test_kubelets_own_certificate_is_repaired_only_where_it_is_broken_and_before_kubelet_is_restarted() -> None:
    fine = proposed("renew-certificates", situation(papered(Cluster(1), change=soon)))
    assert not any(isinstance(s.operation, RepairKubeletClient) for s in fine.steps)
    broken = proposed(
        "renew-certificates", situation(papered(Cluster(1), change=over).api_down(health=EndpointHealth.TLS))
    )
    order = [k for _, k in kinds(broken)]
    assert order.index("repair-kubelet-client") < order.index("restart-unit") < order.index("restart-static-pod")
    repair = next(s.operation for s in broken.steps if isinstance(s.operation, RepairKubeletClient))
    assert repair.node == "cp1"


def test_no_ca_is_ever_renewed() -> None:
    cluster = papered(Cluster(1), change=lambda p: p | {pki.CA: p[pki.CA]._replace(ends=-60.0)}).api_down(
        health=EndpointHealth.TLS
    )
    answer = asked("renew-certificates", situation(cluster))
    assert isinstance(answer, Refusal) and "is a CA, which is never renewed" in answer.reason


def test_nothing_is_renewed_with_a_ca_that_is_over() -> None:
    """The leaves of a cluster of ten years are found first, and a renewal of them was offered."""

    def aged(papers: Papers) -> Papers:
        return pki.dated(papers, -60.0) | {pki.CA: papers[pki.CA]._replace(ends=-120.0)}

    answer = asked("renew-certificates", situation(papered(Cluster(1), change=aged).api_down()))
    assert isinstance(answer, Refusal) and "accepted by nobody" in answer.reason


def test_nothing_is_renewed_with_a_ca_that_was_replaced() -> None:
    cluster = papered(Cluster(1), change=lambda p: over(all_made_anew(p))).api_down(health=EndpointHealth.TLS)
    answer = asked("renew-certificates", situation(cluster))
    assert isinstance(answer, Refusal) and "was replaced" in answer.reason


def test_without_the_cas_key_it_is_for_whoever_holds_it() -> None:
    cluster = papered(Cluster(1), change=soon)
    cluster.host("cp1", pki=PkiView(keys={ACCOUNTS_KEY: "another, too"}))
    answer = asked("renew-certificates", situation(cluster))
    assert isinstance(answer, Refusal) and "external CA" in answer.reason


def test_a_ca_whose_key_is_elsewhere_is_named_with_what_it_signs() -> None:
    """`kubeadm certs renew all` passes over those leaves and ends well, so everything
    would be restarted for nothing.
    """

    def without_key(change: Change) -> Situation:
        cluster = papered(Cluster(1), change=change)
        view = cluster._seen("cp1").pki
        assert view
        return situation(
            cluster.host(
                "cp1",
                pki=replace(view, keys={p: k for p, k in view.keys.items() if not p.endswith("front-proxy-ca.key")}),
            )
        )

    answer = asked("renew-certificates", without_key(over))
    assert (
        isinstance(answer, Refusal)
        and "front-proxy-ca.key is not on cp1" in answer.reason
        and "front-proxy-client.crt" in answer.reason
    )
    subjects = {subject for _, subject in proposed("renew-certificates", without_key(soon)).basis}
    assert (
        "cp1:/etc/kubernetes/pki/apiserver.crt" in subjects
        and "cp1:/etc/kubernetes/pki/front-proxy-client.crt" not in subjects
    )


def test_a_bastion_whose_clock_is_ahead_makes_nothing_expire() -> None:
    ahead = timedelta(days=400)
    cluster = papered(Cluster(2, now=NOW + ahead)).host("cp1", clock_offset=-ahead.total_seconds())
    cluster.ssh_fails("cp2").endpoint(
        "cp2", EndpointHealth.TLS, "certificate has expired", certificate_expires=NOW + timedelta(days=300)
    )
    codes = {f.code for f in situation(cluster).diagnosis.findings}
    assert not codes & {Code.CERTIFICATE_EXPIRED, Code.CERTIFICATE_EXPIRES_SOON} and Code.CLOCK_SKEW in codes


# --- when it is offered ---


def in_windows(*texts: str) -> Situation:
    cluster = papered(Cluster(1), change=soon)
    maintenance = MaintenanceSettings(tuple(written.parse(t) for t in texts))
    return replace(situation(cluster), settings=replace(cluster.settings, maintenance=maintenance))


def test_outside_the_window_it_is_said_when_it_will_be_offered() -> None:
    assert NOW.strftime("%a %H:%M") == "Thu 19:10"
    answer = asked("renew-certificates", in_windows("Sun 02:00-04:00"))
    assert isinstance(answer, Wait)
    assert (
        "from Sun 2026-03-08 02:00 UTC" in answer.reason and "`recoverctl run renew-certificates prod`" in answer.reason
    )


def test_in_the_window_it_is_offered_until_that_ends() -> None:
    proposal = proposed("renew-certificates", in_windows("Thu 18:00-20:00", "Sun 02:00-04:00"))
    assert proposal.valid_until == NOW.replace(hour=20, minute=0)


def test_a_window_that_opens_too_late_is_not_waited_for() -> None:
    now = in_windows("Wed 02:00-04:00")
    assert isinstance(asked("renew-certificates", now), Wait)
    cluster = papered(Cluster(1), change=lambda p: pki.dated(p, 5 * DAY))
    late = replace(situation(cluster), settings=now.settings)
    assert proposed("renew-certificates", late).valid_until == NOW + timedelta(days=1)


def test_a_person_may_ask_at_any_time() -> None:
    assert isinstance(asked("renew-certificates", replace(in_windows("Sun 02:00-04:00"), by_hand=True)), Proposal)


@pytest.mark.parametrize(
    ("text", "at", "end", "opens"),
    [
        ("Sun 02:00-04:00", "Sun 02:00", "Sun 04:00", "Sun 02:00"),
        ("Sun 02:00-04:00", "Sun 04:00", None, "Sun 02:00"),
        ("Fri-Mon 22:00-02:00", "Tue 01:59", "Tue 02:00", "Fri 22:00"),
        ("Fri-Mon 22:00-02:00", "Wed 12:00", None, "Fri 22:00"),
        ("sat,sun 00:00-24:00", "Sun 12:00", "Mon 00:00", "Sat 00:00"),
        ("daily 03:00-03:30", "Thu 03:29", "Thu 03:30", "Fri 03:00"),
    ],
)
def test_windows(text: str, at: str, end: str | None, opens: str) -> None:
    window = written.parse(text)
    now = next(
        t
        for d in range(7)
        if (t := datetime(2026, 3, 2 + d, int(at[4:6]), int(at[7:]), tzinfo=UTC)).strftime("%a") == at[:3]
    )
    until, later = open_until([window], now), next_open([window], now)
    assert (until and until.strftime("%a %H:%M")) == end
    assert later and later > now and later.strftime("%a %H:%M") == opens


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sunday 02:00-04:00",
        "Sun 2:00-4:00",
        "Sun 02:00",
        "Sun 25:00-26:00",
        "Sun 02:00-02:00",
        "Mon-Tue-Wed 01:00-02:00",
    ],
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        written.parse(text)


# --- restore-pki ---


def test_what_was_made_anew_by_hand_is_put_back_from_the_copy_and_kept_aside() -> None:
    proposal = proposed(
        "restore-pki", situation(papered(Cluster(1), change=all_made_anew).api_down(health=EndpointHealth.TLS))
    )
    put = proposal.steps[0]
    assert isinstance(put.operation, PutBackPki) and isinstance(put.undo, PutBackPki)
    assert (put.operation.source, put.operation.aside, put.undo.source) == (
        "/kept",
        "/var/lib/recoverd/pki/before-prod-1",
        put.operation.aside,
    )
    assert put.undo.restart and "restart-unit" in [k for _, k in kinds(proposal)]


def test_without_a_copy_it_says_so() -> None:
    cluster = papered(Cluster(1), change=all_made_anew).api_down(health=EndpointHealth.TLS)
    answer = asked("restore-pki", situation(cluster, memory=known(cluster, kept="")))
    assert isinstance(answer, Refusal) and "no copy" in answer.reason


def test_a_ca_replaced_on_every_control_plane_is_put_back_everywhere_before_etcd_is_awaited() -> None:
    cluster = papered(Cluster(3), change=all_made_anew).api_down(health=EndpointHealth.TLS)
    proposal = proposed("restore-pki", situation(cluster))
    order = kinds(proposal)
    assert [h for h, k in order[:3] if k == "put-back-pki"] == ["cp1", "cp2", "cp3"]
    assert not any(s.stops_member for s in proposal.steps) and WITHOUT_QUORUM in proposal.evidence  # and so it is told


def test_where_etcd_still_runs_with_the_old_ca_the_files_of_all_are_put_back_before_any_is_restarted() -> None:
    """Else the first one restarted would refuse its peers, which have certificates of the new CA in place, and be
    refused once it is taken back.
    """
    proposal = proposed("restore-pki", situation(papered(Cluster(3), change=all_made_anew)))
    order = kinds(proposal)
    assert order[:3] == [(h, "put-back-pki") for h in ("cp1", "cp2", "cp3")]
    assert [h for h, k in order[3:] if k == "await-api"] == ["cp1", "cp2", "cp3"] and [
        h for h, _ in order[3:]
    ] == sorted(h for h, _ in order[3:])
    assert WITHOUT_QUORUM not in proposal.evidence  # one after the other, as quorum allows
    undo = [
        (s.operation.kind, s.undo.restart) for s in proposal.steps if s.host == "cp2" and isinstance(s.undo, PutBackPki)
    ]
    assert undo == [("put-back-pki", False), ("restart-static-pod", True)]


def test_each_plan_of_an_incident_keeps_what_it_finds_under_a_name_of_its_own() -> None:
    """Put back, and then found to be over: what is taken back then is what was put
    back, not what was there at first.
    """
    cluster = papered(Cluster(1), change=all_made_anew).api_down(health=EndpointHealth.TLS)
    machine = ClusterMachine(cluster.settings, registry(), now=NOW, memory=known(cluster))

    def sweeps() -> None:
        for _ in range(3):
            cluster.now += timedelta(seconds=5)
            machine.handle(Observed(cluster.observation()))

    sweeps()
    first = machine.record.plan
    assert first and first.playbook == "restore-pki" and isinstance(first.steps[0].operation, PutBackPki)
    machine.handle(Approved(first.id, "alice", "", machine.now))
    sweeps()
    machine.handle(StepEnded(first.id, 0, False, StepResult(False, "no"), machine.now))
    while (plan := machine.record.plan) and (run := machine.record.run):
        if run.held_since:
            sweeps()
            continue
        machine.handle(StepEnded(plan.id, run.index, run.undoing, StepResult(True, "taken back"), machine.now))
    machine.handle(Acknowledged("prod-1", "alice", machine.now))
    sweeps()
    second = machine.record.plan
    assert second and second.id != first.id and isinstance(second.steps[0].operation, PutBackPki)
    name = f"{KEPT}/before-prod-1-{machine.record.mark}"
    assert (first.steps[0].operation.aside, second.steps[0].operation.aside) == (name, f"{name}-2")


def test_another_cause_is_not_hidden_by_a_front_proxy_ca_that_was_replaced() -> None:
    cluster = papered(Cluster(1), change=front_proxy_made_anew).manifest("cp1", "kube-apiserver", None).api_down()
    now = situation(cluster)
    assert now.diagnosis.faults[0].code == Code.MANIFEST_MISSING
    found = now.diagnosis.find(Code.PKI_REPLACED)
    assert found and found.severity is Severity.WARNING


# --- what is remembered ---


def learnt(changes: Sequence[tuple[float, Change]], memory: Memory) -> Memory:
    sights: Sights = {}
    for seconds, change in changes:
        cluster = papered(Cluster(1, now=NOW + timedelta(seconds=seconds)), change=change)
        observation = cluster.observation()
        memory, sights = remember(
            observation, diagnose(observation, memory, cluster.settings), memory, cluster.settings, sights
        )
    return memory


def test_renewed_leaves_are_taken_in_after_a_minute_and_a_new_ca_after_a_day() -> None:
    first = learnt([(0, same)], Cluster(1).memory())
    digest = first.pki["cp1"].digest

    def renewed(papers: Papers) -> Papers:
        return pki.renewed(papers, AT)

    assert learnt([(0, renewed), (SETTLE - 1, renewed)], first).pki["cp1"].digest == digest
    assert learnt([(0, renewed), (SETTLE, renewed)], first).pki["cp1"].digest != digest
    anew = front_proxy_made_anew
    assert learnt([(0, anew), (MEANT - 1, anew)], first).pki["cp1"].digest == digest
    assert learnt([(0, anew), (MEANT, anew)], first).pki["cp1"].digest != digest


def test_what_does_not_fit_together_is_never_taken_in() -> None:
    def foreign(papers: Papers) -> Papers:
        return papers | {pki.SERVING: papers[pki.SERVING]._replace(key="another")}

    assert "cp1" not in learnt([(0, foreign), (MEANT, foreign)], Cluster(1).memory()).pki


# --- on a healthy cluster ---


class Watch:
    """One machine, a sweep every 5 s of a cluster whose certificates are changed."""

    def __init__(self, control_planes: int = 1, maintenance: MaintenanceSettings = MaintenanceSettings()) -> None:  # noqa: B008
        self.planes = control_planes
        cluster = papered(Cluster(control_planes))
        settings = replace(cluster.settings, maintenance=maintenance)
        self.now = NOW
        self.machine = ClusterMachine(settings, registry(), now=NOW, memory=known(cluster))

    def sweep(
        self,
        *changes: tuple[Change, tuple[str, ...]],
        times: int = 1,
        change: Callable[[Cluster], object] = lambda c: c,
    ) -> list[Instruction]:
        out: list[Instruction] = []
        for _ in range(times):
            self.now += timedelta(seconds=5)
            cluster = papered(Cluster(self.planes, now=self.now))
            for paper, names in changes:
                papered(cluster, *names, change=paper)
            change(cluster)
            out = self.machine.handle(Observed(cluster.observation()))
        return out

    @property
    def plan(self) -> Plan:
        assert self.machine.record.plan
        return self.machine.record.plan

    def approve(self) -> list[Instruction]:
        return self.machine.handle(Approved(self.plan.id, "alice", "", self.now))

    def run(
        self,
        out: list[Instruction],
        fails: Callable[[Perform], bool],
        *sight: tuple[Change, tuple[str, ...]],
        change: Callable[[Cluster], object] = lambda c: c,
    ) -> list[tuple[str, str, bool]]:
        """Answer every step, until there is no more; (host, kind, undo) in order."""
        done: list[tuple[str, str, bool]] = []
        while True:
            work = [i for i in out if isinstance(i, Perform)]
            if not work and self.machine.record.run and self.machine.record.run.held_since:
                out = self.sweep(*sight, change=change)
                continue
            if not work:
                return done
            step = work[0].plan.steps[work[0].index]
            operation = step.undo if work[0].undo else step.operation
            assert operation
            done.append((step.host, operation.kind, work[0].undo))
            result = StepResult(not fails(work[0]), "as the test has it")
            out = self.machine.handle(StepEnded(work[0].plan.id, work[0].index, work[0].undo, result, self.now))


def never_ready(host: str, failed: list[str]) -> Callable[[Perform], bool]:
    """Every wait for its API server fails, and is put into `failed`."""

    def fails(work: Perform) -> bool:
        step = work.plan.steps[work.index]
        if wanted := step.host == host and isinstance(step.operation, AwaitApi):
            failed.append(host)
        return wanted

    return fails


SOON = ((soon, ()),)


def test_a_renewal_is_offered_and_the_cluster_stays_healthy() -> None:
    watch = Watch()
    watch.sweep(*SOON)
    assert watch.machine.record.plan is None
    watch.sweep(*SOON)
    assert (watch.plan.id, watch.plan.automatic, watch.machine.lifecycle.position) == ("prod-m1.1", False, "healthy")
    assert watch.machine.record.incident is None
    watch.sweep(*SOON, times=30)
    assert watch.plan.id == "prod-m1.1" and watch.machine.record.run is None
    assert watch.machine.memory.healthy_at and watch.now - watch.machine.memory.healthy_at < timedelta(seconds=30)


def test_approved_it_is_maintenance_and_over_when_the_cluster_is_healthy() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    done = watch.run(watch.approve(), lambda _: False, *SOON)
    assert ("cp1", "renew-leaves", False) in done
    assert watch.machine.lifecycle.position == "maintenance/verifying"
    watch.sweep(times=3)
    assert watch.machine.lifecycle.position == "healthy" and watch.machine.record.incident is None
    assert watch.machine.record.incidents == 0


@pytest.mark.parametrize("ready", [True, False])
def test_certificates_are_not_taken_back_where_those_before_them_cannot_be_better(ready: bool) -> None:
    """They are over, or the API server serves with the new ones whatever else failed.

    Found by random stories: a damaged manifest on one control plane had expired certificates put back on two.
    """
    watch = Watch(3)
    sight = SOON if ready else ((over, ("cp2",)),)
    watch.sweep(*sight, times=2, change=lambda c: c if ready else c.endpoint("cp2", EndpointHealth.TLS))
    failed: list[str] = []
    done = watch.run(
        watch.approve(),
        never_ready("cp2", failed),
        *sight,
        change=lambda c: c if ready else c.endpoint("cp2", EndpointHealth.REFUSED),
    )
    assert failed and not [(h, k) for h, k, undo in done if undo], done
    assert "the files are in place; NOT done" in watch.machine.record.explanation, watch.machine.record.explanation


def test_a_control_plane_that_does_not_come_back_is_taken_back_and_those_before_it_stay() -> None:
    watch = Watch(3)
    watch.sweep(*SOON, times=2)
    down: list[str] = []
    done = watch.run(
        watch.approve(),
        never_ready("cp2", down),
        *SOON,
        change=lambda c: c.endpoint("cp2", EndpointHealth.REFUSED) if down else c,
    )
    assert [(h, k) for h, k, undo in done if undo] == [("cp2", "put-back-pki")]
    assert "cp3" not in {h for h, _, _ in done}
    assert watch.machine.lifecycle.position == "maintenance/escalated"
    incident = watch.machine.record.incident
    out = watch.sweep((soon, ("cp2", "cp3")), times=2)
    assert watch.machine.lifecycle.position == "healthy"
    closed = next(i.incident for i in out if hasattr(i, "incident") and not isinstance(i.incident, str))
    assert incident and (closed.state, closed.outcome) == (State.MAINTENANCE, Outcome.NOT_DONE)
    watch.sweep((soon, ("cp2", "cp3")), times=10)
    assert watch.machine.record.plan is None and "recoverctl ack prod-m1" in watch.machine.record.explanation
    watch.machine.handle(Acknowledged("prod-m1", "alice", watch.now))
    watch.sweep((soon, ("cp2", "cp3")), times=3)
    assert watch.plan.id == "prod-m2.1"


def test_a_rejected_offer_is_not_made_again_unless_asked_for() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    watch.machine.handle(Rejected(watch.plan.id, "alice", "on Sunday", watch.now))
    watch.sweep(*SOON, times=10)
    assert watch.machine.record.plan is None
    watch.machine.handle(PlanRequested("renew-certificates", (), "alice", "now", watch.now))
    assert (watch.plan.id, watch.plan.requested_by) == ("prod-m2.1", "alice")
    watch.sweep(*SOON, times=5)
    assert watch.plan.id == "prod-m2.1"
    assert [i for i in watch.approve() if isinstance(i, Perform)] or watch.machine.record.run


def test_while_paused_nothing_is_offered_and_nothing_approved() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    watch.machine.handle(Paused("alice", "moving racks", watch.now))
    with pytest.raises(Refused, match="paused"):
        watch.approve()


def test_what_is_gone_takes_its_offer_with_it() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    watch.sweep(times=2)
    assert watch.machine.record.plan is None and watch.machine.lifecycle.position == "healthy"


def test_a_fault_makes_the_offer_void_and_cannot_be_approved_over() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    offered = watch.plan.id

    def broken(cluster: Cluster) -> Cluster:
        return cluster.manifest("cp1", "kube-apiserver", None).api_down()

    watch.sweep(*SOON, change=broken)
    with pytest.raises(Refused, match="is for a healthy cluster"):
        watch.approve()
    watch.sweep(*SOON, change=broken)
    assert (
        watch.plan.id != offered
        and watch.machine.record.incident
        and watch.machine.record.incident.state is State.APISERVER_DOWN
    )


def test_an_offer_expires_and_is_made_anew() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    watch.now += timedelta(days=1)
    watch.sweep((lambda p: pki.dated(p, 9 * DAY), ()), times=3)
    assert watch.plan.id == "prod-m2.1"


def told(out: Sequence[Instruction], event: str) -> list[str]:
    return [i.entry.detail for i in out if isinstance(i, Note) and i.entry.event == event]


def test_an_expired_offer_says_the_day() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    until = watch.plan.expires_at
    watch.now = until
    (why,) = told(watch.sweep(*SOON), "plan-expired")
    watch.sweep(*SOON)  # nobody looked for days
    assert f"nobody approved it before {until:%Y-%m-%d %H:%M:%S} UTC" in why and watch.plan.id == "prod-m2.1"


def test_an_offer_that_is_not_what_would_be_planned_now_is_replaced_a_sweep_later_under_its_own_number() -> None:
    watch = Watch(3)
    watch.sweep((soon, ("cp1",)), times=2)
    offered, two = watch.plan, (soon, ("cp1", "cp2"))
    watch.sweep(two, times=2)
    assert watch.plan == offered, "what is new has to last, and so has the difference"
    watch.sweep(two)
    assert watch.machine.record.plan is None and watch.machine.record.explanation == ""
    watch.sweep(two)
    assert (watch.plan.id, {s.host for s in watch.plan.steps}) == ("prod-m2.1", {"cp1", "cp2"})
    assert "prod-m1" not in repr(watch.plan.steps)


def test_while_paused_an_offer_expires_and_none_is_made() -> None:
    watch = Watch()
    watch.sweep(*SOON, times=2)
    watch.machine.handle(Paused("alice", "moving racks", watch.now))
    watch.now = watch.plan.expires_at
    watch.sweep(*SOON, times=3)
    assert watch.machine.record.plan is None


# --- the copies ---


def test_a_copy_counts_once_a_later_sweep_still_finds_what_it_is_named_after() -> None:
    watch = Watch()
    watch.machine.state = replace(watch.machine.state, memory=replace(watch.machine.memory, pki={}))
    watch.sweep()
    (keep,) = (
        (i for i in watch.sweep() if isinstance(i, PerformChore))
        if "cp1" not in watch.machine.state.copies
        else (None,)
    )
    assert keep is None or keep.step.host == "cp1"
    operation = KeepPki(watch.machine.state.copies["cp1"].target, prune=True)
    assert operation.target.endswith(watch.machine.memory.pki["cp1"].digest)
    watch.machine.handle(ChoreEnded(Step("cp1", "a copy", operation, 60.0), StepResult(True, "done"), watch.now))
    assert not watch.machine.memory.pki["cp1"].kept
    watch.sweep(times=2)
    assert watch.machine.memory.pki["cp1"].kept == operation.target
    assert not [i for i in watch.sweep(times=3) if isinstance(i, PerformChore)]


def test_a_copy_that_failed_is_told_and_tried_again_later() -> None:
    watch = Watch()
    watch.machine.state = replace(watch.machine.state, memory=replace(watch.machine.memory, pki={}))
    (keep,) = (i for i in watch.sweep() if isinstance(i, PerformChore))
    assert isinstance(keep.step.operation, KeepPki)
    out = watch.machine.handle(ChoreEnded(keep.step, StepResult(False, "no room"), watch.now))
    assert any("no room" in str(i) for i in out)
    assert not [i for i in watch.sweep(times=3) if isinstance(i, PerformChore)]
    watch.now += timedelta(minutes=10)
    assert [i for i in watch.sweep() if isinstance(i, PerformChore)]


def test_kubelets_unchecked_serving_certificate_is_only_a_notice() -> None:
    cluster = papered(Cluster(1))
    path = "/var/lib/kubelet/pki/kubelet.crt"
    view = CertificateView(path, "CN=cp1@1", "CN=cp1-ca@1", NOW - timedelta(days=400), NOW - timedelta(days=35))
    cluster.host("cp1", certificates=(*cluster._seen("cp1").certificates, view))
    found = situation(cluster).diagnosis
    assert found.state is State.HEALTHY and [f.severity for f in found.findings] == [Severity.NOTICE]


def test_the_journal_of_another_time_or_bastion_gives_other_names() -> None:
    """Incidents are numbered from one in each: what is kept under the first one's name, perhaps of months ago, must
    not be put back by the second.
    """
    asides = []
    for since in (NOW, NOW + timedelta(days=60)):
        cluster = papered(Cluster(1), change=all_made_anew).api_down(health=EndpointHealth.TLS)
        machine = ClusterMachine(cluster.settings, registry(), now=since, memory=known(cluster))
        for _ in range(3):
            cluster.now += timedelta(seconds=5)
            machine.handle(Observed(cluster.observation()))
        plan = machine.record.plan
        assert plan and plan.id == "prod-1.1" and isinstance(plan.steps[0].operation, PutBackPki)
        asides.append(plan.steps[0].operation.aside)
    assert len(set(asides)) == 2


def test_an_offer_is_not_withdrawn_and_a_refusal_not_forgotten_while_what_they_are_for_cannot_be_seen() -> None:
    """The machine's certificates could not be read in these sweeps, which says nothing of them."""

    def unread(cluster: Cluster) -> None:
        cluster.host("cp1", certificates=(), pki=None)

    watch = Watch()
    watch.sweep(*SOON, times=2)
    offered = watch.plan
    watch.sweep(times=4, change=unread)
    assert watch.plan == offered
    watch.sweep(*SOON)
    watch.machine.handle(Rejected(offered.id, "alice", "next week", watch.now))
    watch.sweep(times=4, change=unread)
    watch.sweep(*SOON, times=3)
    assert watch.machine.record.plan is None and watch.machine.record.declined


@pytest.mark.parametrize("name", ["cp1", "w1"])
def test_a_kubeconfig_of_kubelets_that_is_gone_is_found_on_every_machine(name: str) -> None:
    """Remembered or not: kubeadm's kubelet.conf holds no certificate of its own (from 1.17), which is what is known of
    the other ones.
    """
    cluster = Cluster(1, 2)
    there = PkiView(listed=("/etc/kubernetes/kubelet.conf",))
    for each in ("cp1", "w1"):
        cluster.host(each, pki=there)
    assert diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(Code.CERTIFICATE_MISSING) is None
    cluster.host(name, pki=PkiView(listed=()))
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    warned = found.find(Code.CERTIFICATE_MISSING)
    assert warned and warned.severity is Severity.WARNING and "Cure: " in warned.message
    cluster.unit(name, "kubelet", active="activating", sub="auto-restart", restarts=9)
    cluster.node(name, ready=False)
    fault = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(Code.CERTIFICATE_MISSING)
    assert fault and fault.severity is Severity.FAULT
    assert fault.state is (State.APISERVER_DOWN if name == "cp1" else State.WORKER_NETWORK_BROKEN)


@pytest.mark.parametrize("path", [ACCOUNTS_KEY, pki.CA, pki.PROXY_CA])
def test_what_control_planes_have_to_share_and_do_not_is_told(path: str) -> None:
    """kubernetes/kubernetes #110035: a third one was joined with keys of its own, and tokens were refused at random."""
    cluster = papered(Cluster(3))
    _, view = pki.views(pki.fresh())
    assert view is not None
    of_its_own = (
        replace(view, keys={**view.keys, path: "another"})
        if path == ACCOUNTS_KEY
        else replace(view, authorities={**view.authorities, path: ("another",)})
    )
    cluster.host("cp3", pki=of_its_own)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    told = found.find(Code.PKI_DIFFERS)
    assert told and told.subject == f"cp3:{path}" and told.severity is Severity.WARNING
    replaced_since = diagnose(cluster.observation(), known(cluster), cluster.settings)
    assert replaced_since.find(Code.PKI_DIFFERS) is None and replaced_since.find(Code.PKI_REPLACED)
    cluster.host("cp3", pki=view)
    assert diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(Code.PKI_DIFFERS) is None
