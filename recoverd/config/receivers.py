"""Who is told by the bastion itself, as the file says: names that are known, and URLs in files that can be used."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from recoverd.config.files import resolve
from recoverd.config.schema import FileModel
from recoverd.config.types import Heartbeat, Problem, Receiver
from recoverd.config.urls import check_url
from recoverd.model.text import meant

HEARTBEAT = "heartbeat"
"""The name under which `recoverctl notify-test` and the metrics know the sign of life."""


def told(
    file: FileModel, here: Path, clusters: Collection[str], errors: list[Problem]
) -> tuple[tuple[Receiver, ...], Heartbeat | None]:
    """Every receiver, and where the sign of life goes; what is wrong with them goes to `errors`. `here` is
    the configuration's own folder.
    """
    receivers = []
    for index, model in enumerate(file.notifications):
        where = f"notifications[{index}]"
        errors += _names(where, model.name, [m.name for m in file.notifications[:index]])
        errors += _clusters(where, model.clusters, clusters)
        path = resolve(model.url_file, here)
        if problem := check_url(model.kind, path):
            errors.append((f"{where}.url_file", problem))
        receivers.append(
            Receiver(model.name, model.kind, path, frozenset(model.on), frozenset(model.clusters or clusters))
        )
    if file.heartbeat is None:
        return tuple(receivers), None
    path = resolve(file.heartbeat.url_file, here)
    if problem := check_url(HEARTBEAT, path):
        errors.append(("heartbeat.url_file", problem))
    return tuple(receivers), Heartbeat(path, file.heartbeat.every)


def _names(where: str, name: str, before: Collection[str]) -> Iterable[Problem]:
    if name == HEARTBEAT:
        yield f"{where}.name", f"{name!r} is what the sign of life is called (the key `heartbeat` of the file)"
    if name in before:
        yield f"{where}.name", f"{name!r} is the name of another receiver already"


def _clusters(where: str, named: Iterable[str], known: Collection[str]) -> Iterable[Problem]:
    for index, name in enumerate(named):
        if name not in known:
            yield f"{where}.clusters[{index}]", f"there is no cluster {name!r}; " + meant(name, known)
