"""By which control plane an etcd is asked that is none of the cluster's static pods, and where it is. Pure; the model's
sweeps go by it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from recoverd.diagnose.scene import API, Scene
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Unseen
from recoverd.model.places import OutsideEtcd, outside_etcd

Seen = TypeVar("Seen", bound=Mapping[str, EtcdView | Unseen])


class Ways:
    """How each control plane of one cluster reaches it: from one, and from the next where none could be asked."""

    def __init__(self) -> None:
        self._all: dict[str, OutsideEtcd] = {}
        self._turn = 0
        self.by = ""
        """The control plane from which the last look was made."""

    @property
    def now(self) -> tuple[str, OutsideEtcd] | None:
        """Whose turn it is, and what is asked from there; None where etcd is not known to be elsewhere."""
        if not self._all:
            return None
        plane = list(self._all)[self._turn % len(self._all)]
        return plane, self._all[plane]

    def learn(self, scene: Scene) -> None:
        """Take from a sweep where they are, if they are elsewhere; a sweep that does not tell changes nothing."""
        if not scene.external_etcd:
            if scene.etcd_views or scene.memory.watermark:
                self._all = {}
            return
        for name in scene.control_plane_names:
            host = scene.host(name)
            manifest = (host.manifests.get(API) if host else None) or scene.memory.manifests.get(name, {}).get(API)
            if manifest and (way := outside_etcd(manifest.content)):
                self._all[name] = way

    def took(self, seen: Seen) -> Seen:
        """What was seen by way of `now`; where that is nothing, the next one is asked from now on."""
        self.by = self.now[0] if self.now else ""
        if all(isinstance(v, Unseen) for v in seen.values()):
            self._turn += 1
        return seen
