"""Where what stands in the bastions' etcd. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one fleet of bastions, below its prefix."""

    prefix: str

    @property
    def id(self) -> str:
        """What tells this store from another one, as from the one before, that was lost."""
        return f"{self.prefix}/id"

    @property
    def bastions(self) -> str:
        """A key for each that lives, with its lease."""
        return f"{self.prefix}/bastions/"

    @property
    def owners(self) -> str:
        """A key for each cluster that is watched, with its owner's lease."""
        return f"{self.prefix}/owners/"

    @property
    def machines(self) -> str:
        """A key for each control plane of a cluster that is watched, with its owner's lease: the cluster's name."""
        return f"{self.prefix}/machines/"

    @property
    def heads(self) -> str:
        """For each cluster the name of the newest batch that was journalled of it."""
        return f"{self.prefix}/heads/"

    @property
    def requests(self) -> str:
        """Requests of persons for the owner of a cluster, with the lease of the bastion that was asked."""
        return f"{self.prefix}/requests/"

    @property
    def answers(self) -> str:
        """What came of them, with the owner's lease."""
        return f"{self.prefix}/answers/"

    @property
    def parts(self) -> str:
        """Of answers that come in several parts, each of them, with the owner's lease. No look reads them."""
        return f"{self.prefix}/parts/"

    @property
    def audit(self) -> str:
        """What persons have asked for, wherever they did."""
        return f"{self.prefix}/audit/"

    @property
    def points(self) -> str:
        """For each cluster and bastion, which restore points are on its disk. They stay when it dies."""
        return f"{self.prefix}/points/"

    def aside(self, cluster: str) -> str:
        """Rows of its journal that whoever took it over could not read, kept before they were written over."""
        return f"{self.prefix}/unreadable/{cluster}/"

    def journal(self, cluster: str) -> str:
        """All rows of the journal of one cluster."""
        return f"{self.prefix}/journal/{cluster}/"

    def log(self, cluster: str) -> str:
        """Those that only come and never change."""
        return f"{self.journal(cluster)}log/"
