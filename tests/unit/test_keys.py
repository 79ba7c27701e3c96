"""Which keys fit: what openssl could not read once is asked for again."""

from __future__ import annotations

from typing import Any, cast

from recoverd.clients.hosts import CommandResult, HostPool
from recoverd.observe.keys import NOTHING, KeyWatch

KEY = "/etc/kubernetes/pki/apiserver.key"


class Machine:
    """Answers one after the other, the last of them for ever."""

    def __init__(self, *digests: str) -> None:
        self._digests = list(digests)

    async def run(self, host: str, script: str, **limits: Any) -> CommandResult:
        digest = self._digests.pop(0) if len(self._digests) > 1 else self._digests[0]
        return CommandResult(0, f"{digest} {KEY}\n", "", False)


async def test_a_key_that_could_not_be_read_is_asked_for_again_though_no_file_changed() -> None:
    """openssl also fails where a machine is short of memory; what was kept then stayed a
    key that does not fit, for ever.
    """
    watch, hosts = KeyWatch(), cast(HostPool, Machine(NOTHING, "ab" * 32, "cd" * 32))
    assert await watch.digests(hosts, "cp1", "stamp", 5.0) == {KEY: ""}
    assert await watch.digests(hosts, "cp1", "stamp", 5.0) == {KEY: "ab" * 32}
    assert await watch.digests(hosts, "cp1", "stamp", 5.0) == {KEY: "ab" * 32}
