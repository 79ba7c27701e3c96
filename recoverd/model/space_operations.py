"""What makes room in etcd's database: history is dropped, free pages are given back. Data, as in `operations`.

Source: etcd's maintenance guide (history compaction, defragmentation, space quota). While the NOSPACE alarm is
up etcd takes neither puts nor leases; compaction, defragmentation and the taking back of alarms are let
through (etcd's `applierV3Capped`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.etcd import EtcdView


@dataclass(frozen=True, slots=True)
class Compact:
    """Drop every revision before the one that etcd is at when this is begun, of all members, asked
    of the one on the step's host.

    No object is lost by it; whoever watches from an older revision is told that it is gone, and lists anew. Done when
    this member has freed the pages; the others do it beside that.
    """

    kind: Literal["compact"] = "compact"
    repeatable = True

    def command(self) -> str:
        return "POST https://127.0.0.1:2379/v3/kv/compaction with the revision of then, physical (over the SSH tunnel)"


@dataclass(frozen=True, slots=True)
class Defragment:
    """Give the free pages of the database of the member on the step's host back to its
    disk; it answers nothing meanwhile.

    A member that leads hands that to another first, so that the cluster goes on. It needs as much room on the
    disk as is in use. It fails where the database takes more than `most` bytes even then (0: as many as there
    are): nothing is left to be freed.
    """

    most: int = 0
    kind: Literal["defragment"] = "defragment"
    repeatable = True

    def command(self) -> str:
        asked = (
            "POST https://127.0.0.1:2379/v3/maintenance/defragment {} (over the SSH tunnel), after leading was handed "
            "to another where it leads"
        )
        return f"{asked}; at most {self.most} bytes afterwards" if self.most else asked


@dataclass(frozen=True, slots=True)
class AwaitWrites:
    """Wait until the member on the step's host takes writes: its revision goes on, and no NOSPACE alarm is up.

    kubelets renew their leases every 10 s.
    """

    kind: Literal["await-writes"] = "await-writes"
    repeatable = True

    def command(self) -> str:
        return (
            "POST https://127.0.0.1:2379/v3/maintenance/status {} until its revision has grown and no alarm NOSPACE "
            "is up (over the SSH tunnel)"
        )

    def lacks(self, view: EtcdView, before: int) -> str:
        """What is not as wanted in what the member says of itself, in words; "" when all is. `before`:
        its revision at the first look.
        """
        if view.full:
            return "the alarm NOSPACE is up"
        return "" if view.revision > before else f"nothing was written since, its revision is {view.revision} still"


SpaceOperation = Compact | Defragment | AwaitWrites
