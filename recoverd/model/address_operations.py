"""Giving free what the CNI's IPAM has given to containers that are gone. Host operations, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall


@dataclass(frozen=True, slots=True)
class FreeAddresses(HostCall):
    """Move the files of host-local aside whose container no process on the machine is of, as the machine itself sees it
    at that moment.
    """

    directory: str
    keep: str
    """Where they are moved to."""
    kind: Literal["free-addresses"] = "free-addresses"
    repeatable = True

    @property
    def title(self) -> str:
        return f"freeing addresses in {self.directory} of containers that are gone"

    def call(self) -> Call:
        return Call.of("free_addresses", self.directory, self.keep, does=f"mv {self.directory}/ADDRESS {self.keep}/")

    def check(self) -> Call:
        return Call.of("none_leaked", self.directory)
