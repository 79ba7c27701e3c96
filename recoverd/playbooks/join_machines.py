"""What of a control plane that is to join is judged by what the machines say alone: it is asked before `recoverctl
join-control-plane`, and as the first step of a plan that joins a machine again. Pure.

Sources: as of `recoverd.playbooks.join_checks`, which adds what the newest sweep shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from recoverd.model.join_operations import CheckJoin
from recoverd.model.joining import Check, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.pki_operations import KUBERNETES
from recoverd.model.plan import StepResult
from recoverd.model.unseen import Unseen

ETCD_ROOM = 1 << 30
"""Bytes beside twice the database: it is received whole, and kept once more while it is defragmented."""
KUBELET_ROOM = 2 << 30
CA_LEFT = timedelta(days=1)
"""A CA that ends sooner would make a control plane that is dead tomorrow."""
WORDS = {
    Reached.REFUSED: "refused (a firewall rejects it, or nothing listens)",
    Reached.FILTERED: "no answer (a firewall drops it, or there is no way)",
    Reached.UNREACHABLE: "no way there",
    Reached.UNTOLD: "could not be tried",
}


def in_the_way(leftover: str) -> bool:
    """Whether what is left of a control plane keeps it from joining again; its certificates are put there for that."""
    return leftover != f"{KUBERNETES}/pki"


def told(it: CheckJoin, checks: Iterable[Check]) -> StepResult:
    """What the checks come to, as the result of the step that asks."""
    bad = [f"{c.name}: {c.detail}" for c in checks if not c.ok]
    if bad:
        return StepResult(False, f"{it.name} cannot join: {'; '.join(bad)}; nothing was changed", untouched=True)
    return StepResult(True, f"{it.name} can join: every check was good")


def again(
    request: JoinRequest, facts: JoinFacts, size: int, limit: float, now: datetime, flags: Sequence[str] = ()
) -> tuple[Check, ...]:
    """Every check of a machine that was a control plane of this cluster, and is to be one again.

    `size`: bytes of etcd's database; `limit`: seconds that clocks may be apart; `flags`: those of its API server that
    kubeadm's configuration has to give.
    """
    new = facts.machines.get(request.name)
    if not isinstance(new, MachineFacts):
        return (Check(f"{request.name} over SSH", False, new.reason if new else "it was not asked"),)
    return (
        _itself(request, new),
        names(request, facts),
        versions(request, new, facts),
        _flags(request, facts, flags),
        clocks(facts, limit),
        runtime(request, new),
        leftovers(request, new),
        disk(request, new, size),
        authorities(facts, now),
        *ports(request, facts),
    )


def _itself(request: JoinRequest, new: MachineFacts) -> Check:
    why = ""
    if new.hostname != request.name:
        why = f"the machine at {request.address} calls itself {new.hostname or 'nothing'}, and not {request.name}"
    elif request.address not in new.addresses:
        why = f"{request.name} has no {request.address} on its interfaces (it has {', '.join(new.addresses) or 'none'})"
    return Check("name and address", not why, why or f"{request.name} at {request.address}, as before")


def _flags(request: JoinRequest, facts: JoinFacts, flags: Sequence[str]) -> Check:
    """One that is only in the manifest that was lost, as of encryption at rest, would be lost without a word."""
    lost = [f"--{name}" for name in flags if facts.flags is None or name not in facts.flags]
    why = (
        f"the API server on {request.name} had {', '.join(lost)}, which kubeadm-config does not give, so kubeadm would "
        "make one without: put it there (apiServer.extraArgs, with its extraVolumes), or join by hand"
    )
    return Check("flags of the API server", not lost, why if lost else "those that it had are kubeadm-config's")


def names(request: JoinRequest, facts: JoinFacts) -> Check:
    if facts.trouble:
        return Check("names", False, facts.trouble)
    if not facts.endpoint:
        return Check(
            "names",
            False,
            "the cluster has no controlPlaneEndpoint, without which kubeadm joins no second "
            "control plane; set one first",
        )
    host = facts.endpoint.rpartition(":")[0].strip("[]") or facts.endpoint
    told = {n: m.resolves.get(host, ()) for n, m in facts.machines.items() if isinstance(m, MachineFacts)}
    if not told.get(request.name):
        return Check(
            "names",
            False,
            f"{request.name} cannot resolve {host}, the controlPlaneEndpoint; put it into DNS or /etc/hosts there",
        )
    others = {a for n, addresses in told.items() if n != request.name for a in addresses}
    if others and not others & set(told[request.name]):
        here, there = ", ".join(told[request.name]), ", ".join(sorted(others))
        return Check("names", False, f"{request.name} resolves {host} to {here}, and the control planes to {there}")
    if facts.endpoint_probe and facts.endpoint_probe.reached is not Reached.OPEN:
        new = facts.machines[request.name]
        own = [a for a in told[request.name] if isinstance(new, MachineFacts) and a in new.addresses]
        left = (
            f"; {own[0]} is an address of {request.name} itself, as where keepalived was killed there: while nothing "
            f"of it runs, `ip addr del` it"
            if own
            else ""
        )
        return Check(
            "names",
            False,
            f"{request.name} resolves {host}, and does not reach {facts.endpoint}: "
            f"{_told(facts.endpoint_probe.port, facts.endpoint_probe)}{left}",
        )
    return Check("names", True, f"{host} is {', '.join(told[request.name])} on {request.name} as on the control planes")


def versions(request: JoinRequest, new: MachineFacts, facts: JoinFacts) -> Check:
    want = _minor(facts.version)
    why = ""
    if want is None:
        why = facts.trouble or f"the cluster's version is not known ({facts.version or 'kubeadm-config names none'})"
    else:
        for program, version in (("kubeadm", new.kubeadm), ("kubelet", new.kubelet)):
            if _minor(version) != want:
                has = version or f"no {program}"
                why = (
                    f"{request.name} has {program} {has}, and the cluster is {facts.version}; install {program} "
                    f"{want[0]}.{want[1]} there"
                )
                break
    said = f"kubeadm {new.kubeadm} and kubelet {new.kubelet}, the cluster is {facts.version}"
    return Check("versions", not why, why or said)


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def clocks(facts: JoinFacts, limit: float) -> Check:
    seen = sorted((m.clock_offset, n, m.clock_error) for n, m in facts.machines.items() if isinstance(m, MachineFacts))
    (low, first, e1), (high, last, e2) = seen[0], seen[-1]
    if math.isinf(high):
        return Check("time", False, f"{last} does not tell its clock (date +%s.%N)")
    apart = high - low
    if apart - e1 - e2 > limit:
        what = (
            f"{last} is {apart:.1f} s ahead of {first}, and {limit:g} s are allowed (bound `max_clock_skew`); let "
            "chrony or timesyncd set the clocks"
        )
        return Check("time", False, what)
    return Check("time", True, f"no two clocks are further apart than {apart:.1f} s")


def runtime(request: JoinRequest, new: MachineFacts) -> Check:
    why = ""
    if not new.runtime:
        why = f"no container runtime is active on {request.name} (containerd, crio, docker)"
    elif not new.kubelet_unit:
        why = f"{request.name} has no systemd unit kubelet"
    elif not new.crictl and new.runtime != "docker" and not request.skip_preflight and _asks_crictl(new.kubeadm):
        why = (
            f"{request.name} has no crictl, without which kubeadm's own preflight checks fail; install "
            "cri-tools, or --skip-preflight"
        )
    return Check("runtime", not why, why or f"{new.runtime} is active on {request.name}")


def _asks_crictl(kubeadm: str) -> bool:
    """Whether this kubeadm's preflight checks fail without crictl: from 1.31 on it speaks to the runtime itself
    (kubernetes/kubeadm#3064).
    """
    return (_minor(kubeadm) or (1, 0)) < (1, 31)


def leftovers(request: JoinRequest, new: MachineFacts) -> Check:
    if new.leftovers:
        what = (
            f"{request.name} is not clean: {', '.join(new.leftovers)}; look whether it belongs to a cluster, "
            "then `kubeadm reset -f` there"
        )
        return Check("leftovers", False, what)
    return Check("leftovers", True, f"nothing of Kubernetes is left on {request.name}")


def disk(request: JoinRequest, new: MachineFacts, size: int) -> Check:
    for path, needed in (
        ("/var/lib/etcd", 2 * size + ETCD_ROOM),
        ("/var/lib/kubelet", KUBELET_ROOM),
    ):
        free = new.free.get(path)
        if free is None or free < needed:
            has = "cannot be told" if free is None else f"is {_size(free)}"
            return Check(
                "disk", False, f"what is free for {path} on {request.name} {has}, and {_size(needed)} are needed"
            )
    return Check("disk", True, ", ".join(f"{_size(free)} free for {path}" for path, free in new.free.items()))


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def ports(request: JoinRequest, facts: JoinFacts) -> Iterator[Check]:
    """One line for each direction of each pair; what was not tried is not good."""
    names = list(facts.machines)
    for source in names:
        for target in names:
            if source == target:
                continue
            mine = [p for p in facts.probes if (p.source, p.target) == (source, target)]
            found = {p.port: p for p in mine}
            bad = [
                _told(port, found.get(port))
                for port in facts.ports
                if port not in found or found[port].reached is not Reached.OPEN
            ]
            if bad and target == request.name and facts.listening:
                bad = [facts.listening]
            good = ", ".join(str(p) for p in facts.ports)
            yield Check(f"ports {source} -> {target}", not bad, "; ".join(bad) or f"{good} open")


def _told(port: int, probe: Probe | None) -> str:
    if probe is None:
        return f"{port} was not tried"
    return f"{port} {WORDS.get(probe.reached, probe.reached)}" + (
        f": {probe.detail}" if probe.detail and probe.reached is Reached.UNTOLD else ""
    )


def authorities(facts: JoinFacts, now: datetime) -> Check:
    """The new machine's certificates can be made on the source."""
    source = facts.machines.get(facts.source)
    if not isinstance(source, MachineFacts):
        return _unasked(facts, source)
    if source.missing_keys:
        missing = ", ".join(source.missing_keys)
        return Check(
            "certificates", False, f"{facts.source} has no {missing}, so the new machine's certificates cannot be made"
        )
    if ending := [
        f"{path} on {facts.source} ends at {at:%Y-%m-%d %H:%M} UTC"
        for path, at in source.authorities.items()
        if at - now < CA_LEFT
    ]:
        return Check("certificates", False, "; ".join(ending))
    if not source.authorities:
        return Check("certificates", False, f"no CA certificate could be read on {facts.source}")
    first: datetime = min(source.authorities.values())
    return Check("certificates", True, f"every CA and key is on {facts.source}; the first CA ends {first:%Y-%m-%d}")


def _unasked(facts: JoinFacts, source: MachineFacts | Unseen | None) -> Check:
    why = source.reason if isinstance(source, Unseen) else "no control plane is seen"
    return Check("certificates", False, f"{facts.source} could not be asked: {why}")
