"""`free-pod-addresses`: gives free what the CNI's IPAM plugin host-local has given to containers that are gone.

It keeps a file for each address, and only the CNI's DEL takes one away: crashes and reboots leave some behind, until a
node has none for new pods (kubernetes/kubernetes #57280, containernetworking/plugins #252). A container that no process
on the machine is of holds no address, whoever made it. The files are moved aside and not deleted, and which they are
the machine itself finds out once more when it moves them. kubelet tries again by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.diagnose.cause import NO_ADDRESS
from recoverd.model.address_operations import FreeAddresses
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.finding import Finding
from recoverd.model.node_look import AddressPool
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait

KEPT = "/var/lib/recoverd/addresses"


@dataclass(frozen=True, slots=True)
class FreePodAddresses:
    name: str = "free-pod-addresses"
    summary: str = "free addresses of pods that are held for containers that are gone"
    destructive: bool = False
    order: int = 9
    repairs: frozenset[str] = frozenset({Code.PODS_DO_NOT_START})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        found: list[tuple[Finding, AddressPool]] = []
        mine: Answer = None
        for each in (f for f in situation.confirmed if f.code == Code.PODS_DO_NOT_START):
            held = _held(each, situation)
            if isinstance(held, tuple):
                found += [(each, pool) for pool in held]
            elif each.key == finding.key:
                mine = held
        if mine is not None or not any(each.key == finding.key for each, _ in found):
            return mine
        hosts = ", ".join(dict.fromkeys(each.facts.host for each, _ in found))
        return Proposal(
            summary=f"free the addresses on {hosts} that are held for containers that are gone",
            steps=tuple(_step(each, pool, situation) for each, pool in found),
            basis=tuple(dict.fromkeys(each.key for each, _ in found)),
            evidence=(
                *(line for each, _ in found for line in each.evidence),
                *(f"{e.facts.host}:{p.directory}: {p.held} held, {p.leaked} for containers gone" for e, p in found),
            ),
            undo=(f"by hand: move the files back from {KEPT} to where they were",),
            verify_within=120.0,
        )


def _held(finding: Finding, situation: Situation) -> tuple[AddressPool, ...] | Answer:
    """The networks of which the node holds such addresses, or what is to be said instead."""
    facts, view = finding.facts, situation.host(finding.facts.host)
    if not isinstance(facts, WaitingFacts) or facts.cause != NO_ADDRESS:
        return None
    if view is None or view.node is None:
        return Wait(f"{finding.message} A closer look at {facts.host} has yet to show whose its addresses are")
    if pools := tuple(p for p in view.node.pools if p.leaked):
        return pools
    held = ", ".join(f"{p.directory} holds {p.held}" for p in view.node.pools) or "no address of host-local is held"
    return Refusal(
        f"on {facts.host} no address is held for a container that is gone since three minutes ({held}): as many pods "
        "run there as the node has addresses for. Drain some of them, or give the nodes larger parts of the pod "
        "network (--node-cidr-mask-size, which only a new node takes)"
    )


def _step(finding: Finding, pool: AddressPool, situation: Situation) -> Step:
    network = pool.directory.rpartition("/")[2]
    return Step(
        finding.facts.host,
        f"free the {pool.leaked} addresses of {network} that are held for containers that are gone",
        FreeAddresses(pool.directory, f"{KEPT}/{situation.kept}/{network}"),
        60.0,
        requires=(finding.key,),
        part=finding.subject,
    )


PLAYBOOK = FreePodAddresses()
