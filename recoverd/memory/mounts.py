"""Which file systems of its own a machine had while all was well, where Kubernetes keeps something. Pure.

/etc/fstab does not name all of them: a unit of systemd (Ignition on Flatcar and Fedora CoreOS), ZFS, multipath or a
script mounts them as well, and where that fails after a boot the directory is empty, as if the data were lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from recoverd.diagnose.scene import Scene
from recoverd.diagnose.words import KEEPS
from recoverd.model.observation import HostView

PLAIN = re.compile(r"(/[\w.@+-]+)+")
"""What a shell reads nothing into, and /proc/mounts writes as it is."""


def known_mounts(scene: Scene) -> Mapping[str, tuple[str, ...]]:
    """By machine, after a healthy sweep; the very same object where nothing is new."""
    known = scene.memory.mounts
    now = {name: _mounts(host) for name in scene.addresses if (host := scene.host(name)) is not None and host.disks}
    changed = {name: mounts for name, mounts in now.items() if mounts != known.get(name, ())}
    return {**known, **changed} if changed else known


def _mounts(host: HostView) -> tuple[str, ...]:
    """The mount points, but for that of all, of what `df` was asked for."""
    kept = (*KEEPS.values(), host.etcd_data.path if host.etcd_data else "/var/lib/etcd")
    above = (d.path for d in host.disks if any(PurePosixPath(k).is_relative_to(d.path) for k in kept))
    return tuple(sorted({path for path in above if PLAIN.fullmatch(path)}))
