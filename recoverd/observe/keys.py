"""Which public key belongs to each private key on a machine: asked again only when a
file that holds one has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from recoverd.clients.hosts import HostPool, HostUnseen

SCRIPT = (files(__package__) / "keys.sh").read_text()
KUBERNETES = "/etc/kubernetes"
KUBELET = "/var/lib/kubelet"
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of no bytes: openssl read no key."""
LINE = re.compile(r"([0-9a-f]{64}) (/.+)")


class KeyWatch:
    """The digests of one cluster's machines. The private keys stay where they are; openssl on the
    machine derives the public ones.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Mapping[str, str]]] = {}

    async def digests(self, hosts: HostPool, name: str, stamp: str, seconds: float) -> Mapping[str, str]:
        """SHA-256 of the public key's DER by path, "" where openssl could read none. Empty when it could
        not be asked, or has no openssl.

        `stamp` is what `stat` says of the files; as long as it stays the same, so do the keys in them.
        """
        before = self._known.get(name)
        if before and before[0] == stamp:
            return before[1]
        if not stamp or seconds <= 0:
            return {}
        try:
            result = await hosts.run(name, f"K={KUBERNETES} L={KUBELET}\n{SCRIPT}", timeout=seconds)
        except HostUnseen:
            return {}  # the next sweep asks again
        found = {
            m[2]: "" if m[1] == NOTHING else m[1] for line in result.stdout.splitlines() if (m := LINE.fullmatch(line))
        }
        # a key that could not be read is asked for again: openssl fails where memory is short, too
        if result.exit_status == 0 and "" not in found.values():
            self._known[name] = stamp, found
        return found
