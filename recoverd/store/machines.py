"""As which cluster each control plane is watched: it has a key with its owner's lease, so that of two bastions which
call a cluster differently, as while it is renamed, never both act on its machines. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recoverd.store.gateway import Json, Row, delete, made_at, put
from recoverd.store.keys import Keys


def held(keys: Keys, rows: Iterable[Row]) -> dict[str, str]:
    """By address, the cluster."""
    return {row.key.removeprefix(keys.machines): row.value.decode(errors="replace") for row in rows}


def held_as(machines: Mapping[str, str], cluster: str, planes: Sequence[str]) -> str:
    """As which other cluster one of these control planes is watched; "" where none is."""
    return next((other for a in planes if (other := machines.get(a, cluster)) != cluster), "")


def differ(machines: Mapping[str, str], cluster: str, planes: Sequence[str]) -> bool:
    """Whether others are held for the cluster than it is to have."""
    return {a for a, of in machines.items() if of == cluster} != set(planes)


def having(
    keys: Keys, machines: Mapping[str, str], cluster: str, planes: Sequence[str], lease: int
) -> tuple[list[Json], list[Json]]:
    """Conditions and writes by which the cluster has these control planes and no others: nobody else has them."""
    own = {a for a, of in machines.items() if of == cluster}
    new = [keys.machines + a for a in planes if a not in own]
    gone = [delete(keys.machines + a) for a in sorted(own - set(planes))]
    return [made_at(key, 0) for key in new], [*(put(key, cluster, lease) for key in new), *gone]
