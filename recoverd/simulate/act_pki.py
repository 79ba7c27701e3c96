"""What is done about certificates, on the model."""

from __future__ import annotations

from recoverd.model.pki_operations import (
    KUBERNETES,
    STATIC_PODS,
    KeepPki,
    PutBackKeys,
    PutBackPki,
    RenewLeaves,
    RenewWorkerClient,
    RepairKubeletClient,
)
from recoverd.model.plan import StepResult
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.look import unreachable
from recoverd.simulate.pki import Papers, client_over, renewed


def _not_kept(o: KeepPki, at: Carry) -> bool:
    return o.target not in at.machine.kept


@hand(KeepPki, lacking=_not_kept)
def keep(o: KeepPki, at: Carry) -> StepResult:
    if at.resume and not _not_kept(o, at):
        return _done(at)
    at.machine.kept.setdefault(o.target, _of_kubernetes(at.machine.papers))
    return StepResult(True, f"keeping the certificates in {o.target} on {at.name}: done")


def _not_put_back(o: PutBackPki, at: Carry) -> bool:
    return not _same(at.machine.kept.get(o.source, {}), at.machine.papers)


@hand(PutBackPki, lacking=_not_put_back)
def put_back(o: PutBackPki, at: Carry) -> StepResult:
    machine = at.machine
    if at.resume and not _not_put_back(o, at):
        return _done(at)
    if o.source not in machine.kept:
        return StepResult(
            False,
            f"on {at.name}: there is no copy of the certificates in {o.source}; it refused before changing anything",
        )
    if o.aside:
        machine.kept.setdefault(o.aside, _of_kubernetes(machine.papers))
    changed = not _same(machine.kept[o.source], machine.papers)
    machine.papers = machine.papers | machine.kept[o.source]
    machine.files.setdefault(f"{KUBERNETES}/kubelet.conf", "")
    for mark in o.marks:
        machine.files.pop(mark, None)
    for component in STATIC_PODS if o.restart and changed else ():
        at.cluster.kubelets[at.name].exited(component, at.now, "received signal; shutting down")
    return StepResult(True, f"putting back the certificates from {o.source} on {at.name}: done")


def _keys_lack(o: PutBackKeys, at: Carry) -> bool:
    kept = _keys(at.machine.kept.get(o.source, {}))
    return any(at.machine.papers.get(p) != paper for p, paper in kept.items())


@hand(PutBackKeys, lacking=_keys_lack)
def put_keys_back(o: PutBackKeys, at: Carry) -> StepResult:
    machine = at.machine
    if f"{KUBERNETES}/kubelet.conf" in machine.files:
        return at.refused(f"{KUBERNETES}/kubelet.conf is there: what runs here has certificates of its own")
    if o.source not in machine.kept:
        return StepResult(True, f"there is no copy in {o.source}, and kubeadm brings what it needs")
    machine.kept.setdefault(o.aside, _of_kubernetes(machine.papers))
    machine.papers = machine.papers | _keys(machine.kept[o.source])
    return StepResult(True, f"putting back {o.kubernetes}/pki from {o.source} on {at.name}: done")


def _keys(papers: Papers) -> Papers:
    return {p: paper for p, paper in papers.items() if p.startswith(f"{KUBERNETES}/pki/")}


def _unmarked(o: RenewLeaves | RepairKubeletClient | RenewWorkerClient, at: Carry) -> bool:
    return o.mark not in at.machine.files


def renew(o: RenewLeaves | RepairKubeletClient, at: Carry) -> StepResult:
    machine = at.machine
    if at.resume and not _unmarked(o, at):
        return _done(at)
    if o.kept not in machine.kept:
        return StepResult(False, f"on {at.name}: nothing was kept in {o.kept}; it refused before changing anything")
    machine.papers = renewed(machine.papers, at.now, kubelet=isinstance(o, RepairKubeletClient))
    machine.files[o.mark] = ""
    what = "kubeadm certs renew all" if isinstance(o, RenewLeaves) else "renewing kubelet's client certificate"
    return StepResult(True, f"{what} on {at.name}: done")


hand(RenewLeaves, lacking=_unmarked)(renew)
hand(RepairKubeletClient, lacking=_unmarked)(renew)


@hand(RenewWorkerClient, lacking=_unmarked)
def renew_worker(o: RenewWorkerClient, at: Carry) -> StepResult:
    machine, name = at.machine, f"the client certificate of {at.name}'s kubelet"
    if at.resume and not _unmarked(o, at):
        return _done(at)
    if at.ask:
        return StepResult(False, f"{name} has not been renewed yet", undone=True)
    if (unseen := unreachable(at.cluster, at.cluster.machines[o.signer])) is not None:
        return StepResult(False, f"{name} was not signed: {unseen.reason}. Nothing was changed", untouched=True)
    if not client_over(machine.papers, at.now):
        return at.refused("the certificate in place is valid: it was renewed meanwhile")
    machine.papers = renewed(machine.papers, at.now, kubelet=True)
    machine.files[o.mark] = ""
    return StepResult(True, f"{name} was signed on {o.signer} and put in place")


def _done(at: Carry) -> StepResult:
    return StepResult(True, f"on {at.name} it had been done already", already_done=True)


def _of_kubernetes(papers: Papers) -> Papers:
    return {p: paper for p, paper in papers.items() if p.startswith(f"{KUBERNETES}/")}


def _same(kept: Papers, papers: Papers) -> bool:
    return bool(kept) and all(papers.get(p) == paper for p, paper in kept.items())
