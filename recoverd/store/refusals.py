"""What of etcd's answers is a refusal for good, which no repetition changes, and what a person does about it. Pure.

The codes are gRPC's, as etcd gives them out (`rpctypes/error.go`), and its gateway puts them in its answers. etcd's own
client goes on after UNAVAILABLE and INTERNAL alone (`isHaltErr`); here also after what says that nobody knows what
became of it. Seen on 3.4.23: too many operations, two of the same key and a request of more than 1.5 MiB are
INVALID_ARGUMENT; more than 2 MiB, and a full database, are RESOURCE_EXHAUSTED, and so is "too many requests", which
passes; with users of etcd's own the gateway answers 400 and plain text to whoever has a certificate with a CommonName.
"""

from __future__ import annotations

import json
from typing import Any

FOR_GOOD = {
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}
PASSES = "too many requests", "not supported for learner", "not leader", "revision of auth store is old"
"""Words of refusals with such a code that are one member's own, or over in a moment."""
BUSY = 408, 425, 429
"""HTTP codes, of whatever else stands before etcd, that ask for another try."""
LIMIT = "See {} of each member, which is {} where nothing is said"
USERS = (
    "etcd has users of its own, which its gateway does not take from a certificate: etcdctl auth disable; whoever has "
    "a client certificate of its CA is let in"
)
CURES = {
    "space exceeded": (
        "Its database is full, and it takes nothing until a person has made room: etcdctl alarm list, then compact, "
        "defrag each member and `etcdctl alarm disarm` (etcd's documentation, space quota)"
    ),
    "too large": LIMIT.format("--max-request-bytes", "1.5 MiB"),
    "larger than max": LIMIT.format("--max-request-bytes", "1.5 MiB"),
    "too many operations": LIMIT.format("--max-txn-ops", 128),
    "CommonName": USERS,
    "user name is empty": USERS,
    "corrupt": "Its members' data differ: etcdctl alarm list, and replace the member that is named",
    "Not Found": "What answers there is no etcd of 3.4 or newer",
}
"""What to do, by words of the refusal."""


def answered(status: int, said: str) -> tuple[dict[str, Any] | None, str, bool]:
    """What a member's answer is: its document; else why there is none, with what to do, and whether that is for good.
    Raises `ValueError` for what no etcd says.
    """
    try:
        document = json.loads(said)
    except ValueError:
        if 400 <= status < 500 and status not in BUSY:
            return None, _told(f"HTTP {status}: {' '.join(said.split())[:200]}"), True
        raise
    if status == 200 and isinstance(document, dict):
        return document, "", False
    if not isinstance(document, dict):
        return None, f"HTTP {status}: {said[:200]}", False
    why, code = str(document.get("message") or document.get("error") or said[:200]), document.get("code", 0)
    name = "" if any(words in why for words in PASSES) else FOR_GOOD.get(code, "")
    return None, _told(f"{why} ({name})") if name else f"HTTP {status}: {why}", bool(name)


def _told(why: str) -> str:
    cure = next((cure for words, cure in CURES.items() if words in why), "")
    return f"{why}. {cure}" if cure else why
