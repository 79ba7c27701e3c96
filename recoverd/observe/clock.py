"""Times that a machine tells of itself, by the bastion's clock: all that is concluded from how long something has been
so rests on that. Pure.

A machine that is ten minutes ahead has a kubelet which was started in the future, else: one that counts as just started
for ever, whose deafness nobody finds; and of one that is behind, what was started a moment ago counts as standing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.model.observation import HostView


def by_the_bastions(view: HostView) -> HostView:
    """The same look with the times of its units, static pods and manifests put right by `clock_offset`."""
    if not view.clock_offset:
        return view
    off = timedelta(seconds=view.clock_offset)

    def shifted(at: datetime | None) -> datetime | None:
        try:
            return None if at is None else at - off
        except OverflowError:
            return None

    return replace(
        view,
        units={n: replace(u, since=shifted(u.since)) for n, u in view.units.items()},
        containers={n: replace(c, started_at=shifted(c.started_at)) for n, c in view.containers.items()},
        manifests={n: replace(m, modified_at=shifted(m.modified_at)) for n, m in view.manifests.items()},
    )
