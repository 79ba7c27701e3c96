"""Which store the bastions' etcd is, and whether it is further than it was."""

from __future__ import annotations

import secrets

from recoverd.engine.writer import JournalWriter
from recoverd.store.gateway import Kv, StoreError, get, made_at, put
from recoverd.store.keys import Keys


async def identified(kv: Kv, keys: Keys) -> str:
    """What tells this store from another one; made by whoever comes first."""
    answer = await kv.txn([made_at(keys.id, 0)], [put(keys.id, secrets.token_hex(8))], [get(keys.id)])
    if answer.held:
        answer = await kv.txn((), [get(keys.id)])
    return answer.found[0][0].value.decode()


async def not_gone_back(local: JournalWriter, keys: Keys, id: str, joined: str, revision: int) -> None:
    """Raise `StoreError` where the store was further once, or is another than the one that was `joined` at first: then
    neither mirrors nor machines can be compared by its revisions.
    """
    if joined not in ("", id):
        raise StoreError(
            f"the bastions' etcd is another one than at the start ({id}, and was {joined}). Nothing is done here. "
            "Restart recoverd, first on the bastion whose journal is the newest"
        )
    if (known := await local.read(lambda j: j.followed(id))) > revision:
        raise StoreError(
            f"the bastions' etcd is at revision {revision} and was at {known} before, as after a restore of a "
            f"snapshot. Nothing is done here. Make it another store by its name (etcdctl del {keys.id}), and "
            "restart recoverd, first on the bastion whose journal is the newest"
        )
