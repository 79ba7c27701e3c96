"""What the fleet needs of whatever watches the clusters on this bastion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from recoverd.model.events import Note
from recoverd.model.points import RestorePoint
from recoverd.store.writer import OwnedWriter


class Hands(Protocol):
    """What watches the clusters."""

    def wanted(self) -> Sequence[str]:
        """Names of the clusters of the configuration."""
        ...

    def planes(self, cluster: str) -> Sequence[str]:
        """The addresses of the control planes that the cluster has by the configuration here."""
        ...

    def resting(self) -> Sequence[str]:
        """Those watched here on which nothing is wrong, planned or asked."""
        ...

    def points(self) -> Mapping[str, tuple[RestorePoint, ...]]:
        """Restore points on this bastion's disk, of the clusters watched here."""
        ...

    async def take(self, cluster: str, writer: OwnedWriter) -> None:
        """Watch and act from now on, from where the journal stands. Raises `JournalError`."""
        ...

    async def rest(self, cluster: str) -> bool:
        """Stop watching in good order, as soon as nothing is being carried out. False where it goes on after all."""
        ...

    async def drop(self, cluster: str, why: str) -> None:
        """Stop at once, whatever is being carried out: it is another's cluster, or may be."""
        ...

    async def elsewhere(self, cluster: str, owner: str) -> None:
        """The journal has news of a cluster that `owner` watches ("": nobody yet)."""
        ...

    async def adrift(self, why: str) -> None:
        """The bastions' etcd is not there: look at everything, and do nothing. Called again for as long as it is so."""
        ...

    async def ashore(self) -> None:
        """It is there again."""
        ...

    def say(self, note: Note) -> None:
        """Tell whoever listens here what another bastion has journalled of a cluster. Never raises."""
        ...
