"""What a configuration may say and hardly means: each a warning, since somebody may mean it after all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from recoverd.config.schema import ClusterModel, HostModel
from recoverd.config.types import Problem
from recoverd.model.settings import MAY_RUN_UNASKED, Approval

SLOW = 10
"""So many intervals a deadline may last: each sweep with a source that is silent takes as long."""
KERNELS = ("/proc", "/sys")
"""Where no file can be kept."""
SOCKET_PATH = 107
"""Bytes; Linux's sun_path has one more, for the end (unix(7))."""


def of_cluster(where: str, model: ClusterModel) -> Iterator[Problem]:
    """What one cluster, its defaults included, says and hardly means."""
    if model.ssh.user != "root" and not model.ssh.sudo:
        yield f"{where}.ssh.sudo", f"{model.ssh.user} is not root, and needs `sudo: true` to become it on the nodes"
    yield from _times(where, model)
    for name, chosen in model.approval.items():
        if chosen is Approval.AUTOMATIC and name not in MAY_RUN_UNASKED:
            what = f"`automatic` means required here: {name} reboots, replaces certificates or can lose data, and asks"
            yield f"{where}.approval.{name}", what
    if (programs := model.restore_points.programs) and (lacking := _lacking(Path(programs))):
        what = f"{programs} has no {lacking}, so restore points are not verified"
        yield f"{where}.restore_points.programs", what
    if (hook := model.restore_points.hook) and not os.access(hook, os.X_OK):
        yield f"{where}.restore_points.hook", f"{hook} is not there or not to be executed, so no point is handed on"


def _times(where: str, model: ClusterModel) -> Iterator[Problem]:
    bounds, points = model.bounds, model.restore_points
    if bounds.plan_deadline < bounds.step_deadline:
        yield (
            f"{where}.bounds.plan_deadline",
            f"{bounds.plan_deadline:g} s end a plan before one of its steps may end ({bounds.step_deadline:g} s by "
            "bounds.step_deadline)",
        )
    if points.interval and points.keep_age < points.interval:
        yield (
            f"{where}.restore_points.keep_age",
            f"restore points are removed after {points.keep_age:g} s, and the next one is taken after "
            f"{points.interval:g} s; the newest ones stay all the same",
        )
    for source, seconds in model.deadlines.model_dump().items():
        if seconds > SLOW * model.interval:
            yield (
                f"{where}.deadlines.{source}",
                f"a source that is silent is waited for {seconds:g} s in every sweep, and a sweep is to begin every "
                f"{model.interval:g} s; a fault is seen that much later",
            )


def _lacking(directory: Path) -> str:
    if not os.access(directory / "etcd", os.X_OK):
        return "etcd"
    restorers = ("etcdutl", "etcdctl")
    return "" if any(os.access(directory / r, os.X_OK) for r in restorers) else "etcdutl or etcdctl"


def of_server(server: str, planes: Iterable[HostModel]) -> str:
    """That a kubeconfig leads to one of several control planes, or ""."""
    hosts, host = tuple(planes), urlsplit(server).hostname or ""
    only = next((h.name for h in hosts if host in (h.name, h.address)), "")
    if not only or len(hosts) < 2:
        return ""
    return (
        f"its server {server} is {only} alone; it should be the VIP that everybody uses, which recoverd watches by this"
    )


def of_listen(host: str) -> str:
    """That /metrics and the status page are there for everybody, or ""."""
    try:
        everywhere = ip_address(host).is_unspecified
    except ValueError:
        return ""
    return (
        f"{host} is every network of this machine, and who reads there needs no password; use 127.0.0.1 or an address "
        "of a management network"
        if everywhere
        else ""
    )


def no_socket(path: Path) -> str:
    """Why no socket can be made at the path, as far as that does not depend on who asks."""
    if len(os.fsencode(path)) > SOCKET_PATH:
        return f"{path} is too long: a Unix socket's path has {SOCKET_PATH} bytes at most"
    if path.exists() and not path.is_socket():
        return f"{path} is there and no socket; move it away, or name another place"
    return no_folder(path.parent)


def no_folder(path: Path) -> str:
    """Why files cannot be kept in a folder, there already or to be made, as far as that does not depend on who asks."""
    if any(path.is_relative_to(kernel) for kernel in KERNELS):
        return f"{path} is the kernel's, and no file can be kept there"
    there = next((p for p in (path, *path.parents) if p.exists()), path)
    return "" if there.is_dir() else f"{path} cannot be a folder: {there} is a file"
