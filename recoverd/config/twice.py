"""What a configuration names twice where it can be there once: clusters, machines, addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recoverd.config.schema import ClusterModel, HostModel, SshModel
from recoverd.config.types import ClusterConfig, Problem, SshSettings
from recoverd.model.places import spelt

Listed = Sequence[tuple[str, ClusterModel]]
"""Each cluster with its place in the file."""
ROLES = {"control_planes": "control plane", "workers": "worker"}


def named_twice(models: Listed) -> Iterator[Problem]:
    names: dict[str, str] = {}
    for where, model in models:
        if model.name in names:
            yield f"{where}.name", f"{model.name!r} is the name of {names[model.name]} already"
        names.setdefault(model.name, where)
        yield from _within(where, model)
    yield from _among(models)


def have_in_common(cluster: ClusterConfig, other: ClusterConfig) -> bool:
    """Whether a machine stands in both, as in one cluster that has two names while it is renamed."""
    theirs = dict(_roles(other))
    return any(
        address in theirs and _one((role, cluster.ssh), (theirs[address], other.ssh))
        for address, role in _roles(cluster)
    )


def _roles(cluster: ClusterConfig) -> Iterator[tuple[str, str]]:
    """By address, what each machine is."""
    for role in ROLES:
        for host in getattr(cluster.settings, role):
            yield spelt(host.address), role


def _one(machine: tuple[str, SshModel | SshSettings], other: tuple[str, SshModel | SshSettings]) -> bool:
    """Whether two roles of one address, and the ways there, are those of one machine."""
    (role, ssh), (kind, its) = machine, other
    return role == kind == "control_planes" or (its.jump, its.port) == (ssh.jump, ssh.port)


def _within(where: str, model: ClusterModel) -> Iterator[Problem]:
    """Names and addresses that two machines of one cluster have."""
    own: dict[tuple[str, str], str] = {}
    for here, _, host in _machines(where, model):
        for what, value in (("name", host.name), ("address", spelt(host.address))):
            if (what, value) in own:
                yield f"{here}.{what}", f"{getattr(host, what)!r} is the {what} of {own[what, value]} already"
            own.setdefault((what, value), here)


def _among(models: Listed) -> Iterator[Problem]:
    """Machines that stand in two clusters, each of which would restart and reboot them by its own bounds. A worker
    behind another jump host or port is another machine, as in networks that use the same addresses.
    """
    seen: dict[str, list[tuple[str, str, str, ClusterModel]]] = {}
    for where, model in models:
        for here, role, host in _machines(where, model):
            there = seen.setdefault(spelt(host.address), [])
            for other, place, kind, its in there:
                if other != where and _one((role, model.ssh), (kind, its.ssh)):
                    yield (
                        f"{here}.address",
                        f"{host.address!r} is a {ROLES[kind]} of another cluster already ({place}); a machine is in "
                        "one cluster",
                    )
                    break
            there.append((where, here, role, model))


def _machines(where: str, model: ClusterModel) -> Iterator[tuple[str, str, HostModel]]:
    """Every machine with its place and its role."""
    for role in ROLES:
        for index, host in enumerate(getattr(model, role)):
            yield f"{where}.{role}[{index}]", role, host
