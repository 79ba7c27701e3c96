"""What is done about certificates, on the model."""

from __future__ import annotations

from recoverd.model.pki_operations import KUBERNETES, STATIC_PODS, KeepPki, PkiOperation, PutBackPki, RenewLeaves, RepairKubeletClient
from recoverd.model.plan import StepResult
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.pki import Papers, renewed

ON_PKI = KeepPki | PutBackPki | RenewLeaves | RepairKubeletClient


def pki_lacking(cluster: ModelCluster, name: str, o: PkiOperation) -> bool:
    """Its check says that it has not been done."""
    machine = cluster.machines[name]
    match o:
        case KeepPki(target=target):
            return target not in machine.kept
        case PutBackPki(source=source):
            return not _same(machine.kept.get(source, {}), machine.papers)
        case RenewLeaves() | RepairKubeletClient():
            return o.mark not in machine.files


def on_pki(cluster: ModelCluster, name: str, o: PkiOperation, *, resume: bool) -> StepResult:
    """`resume`: it may have been done before, so its check is asked first."""
    if resume and not pki_lacking(cluster, name, o):
        return StepResult(True, f"on {name} it had been done already", already_done=True)
    machine = cluster.machines[name]
    match o:
        case KeepPki(target=target):
            machine.kept.setdefault(target, _of_kubernetes(machine.papers))
            return StepResult(True, f"keeping the certificates in {target} on {name}: done")
        case PutBackPki():
            return _put_back(cluster, name, o)
        case RenewLeaves(kept=kept) | RepairKubeletClient(kept=kept):
            if kept not in machine.kept:
                return StepResult(False, f"on {name}: nothing was kept in {kept}; it refused before changing anything")
            machine.papers = renewed(machine.papers, cluster.now, kubelet=isinstance(o, RepairKubeletClient))
            machine.files[o.mark] = ""
            what = "kubeadm certs renew all" if isinstance(o, RenewLeaves) else "renewing kubelet's client certificate"
            return StepResult(True, f"{what} on {name}: done")


def _put_back(cluster: ModelCluster, name: str, o: PutBackPki) -> StepResult:
    machine = cluster.machines[name]
    if o.source not in machine.kept:
        return StepResult(False, f"on {name}: there is no copy of the certificates in {o.source}; it refused before changing anything")
    if o.aside:
        machine.kept.setdefault(o.aside, _of_kubernetes(machine.papers))
    changed = not _same(machine.kept[o.source], machine.papers)
    machine.papers = machine.papers | machine.kept[o.source]
    for mark in o.marks:
        machine.files.pop(mark, None)
    for component in STATIC_PODS if o.restart and changed else ():
        cluster.kubelets[name].exited(component, cluster.now, "received signal; shutting down")
    return StepResult(True, f"putting back the certificates from {o.source} on {name}: done")


def _of_kubernetes(papers: Papers) -> Papers:
    return {p: paper for p, paper in papers.items() if p.startswith(f"{KUBERNETES}/")}


def _same(kept: Papers, papers: Papers) -> bool:
    return bool(kept) and all(papers.get(p) == paper for p, paper in kept.items())
