"""The lease on a machine of the model: what `lease.sh` and the guard before a script do on a real one."""

from __future__ import annotations

from recoverd.model.lease import HostLease
from recoverd.simulate.clock import EPOCH
from recoverd.simulate.hosts import Machine


def look(
    machine: Machine, now: float, id: str, name: str, lasts: float, fence: int, want: bool, process: str
) -> HostLease:
    """Renew, take or let go of the lease on the machine, and give what is then so."""
    holder, known, until, called, by = machine.lease or ("", 0, 0.0, "", "")
    give: tuple[int, float] | None = None
    if holder == id and (by == process or (fence and known == fence)):
        give = (known, now + lasts if want else now)
    elif want and (not holder or until <= now or (holder == id and not fence)):
        give = (max(int(EPOCH.timestamp() + now), known + 1), now + lasts)
    problem = machine.unwritable if give else ""
    if give and not problem:
        machine.lease = holder, known, until, called, by = id, *give, name, process
    others = tuple(other for key, other in machine.bastions.items() if key != id)
    if not machine.unwritable:
        machine.bastions[id] = name
    mine = give is not None and not problem and until > now
    return HostLease(holder, called, known, until - now, mine, problem, others)


def refuses(machine: Machine, now: float, id: str, fence: int, *, strict: bool) -> str:
    """Why a script that changes something is not run there; "" when it is."""
    holder, known, until, called, _ = machine.lease or ("", 0, 0.0, "", "")
    if holder == id and until > now and (not fence or known == fence):
        return ""
    if not strict and (not holder or until <= now):
        return ""
    return (
        f"nothing was done: the recoverd on {called or 'another bastion'} holds the lease of this "
        "cluster, or this one lost its own"
    )
