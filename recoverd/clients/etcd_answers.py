"""What etcd's JSON gateway answers, taken apart: numbers, members, alarms, pieces of a snapshot, and failures in
the operator's words.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from typing import Any

import aiohttp

from recoverd.clients.own import own_failure
from recoverd.clients.snapshot import SnapshotError
from recoverd.model.etcd import WHOLE, AlarmEntry, EtcdView, MemberEntry
from recoverd.model.observation import Unseen, UnseenKind


class EtcdUnseen(Exception):  # noqa: N818
    """A member could not be asked, or what it answered makes no sense."""

    def __init__(self, kind: UnseenKind, reason: str) -> None:
        super().__init__(reason)
        self.unseen = Unseen(kind, reason)


class EtcdRefused(EtcdUnseen):
    """The member answered with an error: `code` is gRPC's, None where it gave none."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(UnseenKind.GARBAGE, reason)
        self.code = code


def blob(line: bytes) -> bytes:
    try:
        answer = json.loads(line)
        if "error" in answer:
            raise SnapshotError(f"etcd says: {answer['error']}")
        return base64.b64decode(answer["result"].get("blob", ""), validate=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"a piece of it cannot be understood: {line[:80]!r}") from error


def classified(where: str, error: Exception, certificate: str = "healthcheck-client.crt") -> EtcdUnseen:
    """What an error of the way to a member, or of TLS with it, says. `certificate`: with which it was asked."""
    cause: BaseException = error
    while not isinstance(cause, ssl.SSLError) and (below := cause.__cause__ or getattr(cause, "os_error", None)):
        cause = below
    if own := own_failure(error):
        return EtcdUnseen(UnseenKind.OWN, f"{where} was not asked: {own}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return EtcdUnseen(
            UnseenKind.UNTRUSTED,
            f"{where} has a certificate that does not verify: {getattr(cause, 'verify_message', cause)}",
        )
    if isinstance(cause, ssl.SSLError) or "ALERT" in str(error):
        what = (
            f"{where} did not accept the client certificate {certificate} of its host, or TLS failed otherwise: {error}"
        )
        return EtcdUnseen(UnseenKind.DENIED, what)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientConnectionError | ConnectionError):
        return EtcdUnseen(UnseenKind.UNREACHABLE, f"{where} closed the connection without an answer ({error})")
    return EtcdUnseen(UnseenKind.GARBAGE, f"{where} gave an answer that is not HTTP as etcd speaks it: {error}")


def hexadecimal(number: object) -> str:
    """A uint64, in JSON a decimal string, as etcdctl prints it."""
    return format(int(str(number)), "x")


def member_entry(row: dict[str, Any]) -> MemberEntry:
    return MemberEntry(
        id=hexadecimal(row["ID"]),
        name=str(row.get("name", "")),
        peer_urls=tuple(str(u) for u in row.get("peerURLs", ())),
        client_urls=tuple(str(u) for u in row.get("clientURLs", ())),
        learner=bool(row.get("isLearner", False)),
    )


def alarm_entries(errors: list[object]) -> tuple[AlarmEntry, ...]:
    """The alarms among a status's errors, which read `memberID:123 alarm:NOSPACE`, or `alarm:CORRUPT` where the member
    is 0: that proto3's text leaves out.
    """
    found = (re.search(r"(?:memberID:(\d+)\s+)?alarm:(\w+)", str(e)) for e in errors)
    return tuple(AlarmEntry(hexadecimal(m.group(1) or WHOLE), m.group(2)) for m in found if m)


def member_view(where: str, status: dict[str, Any], members: dict[str, Any]) -> EtcdView:
    """What a member's status and its member list say; `where` names it. Raises `EtcdUnseen`."""
    try:
        header = status["header"]
        return EtcdView(
            member_id=hexadecimal(header["member_id"]),
            cluster_id=hexadecimal(header["cluster_id"]),
            version=str(status.get("version", "")),
            revision=int(header.get("revision", 0)),
            raft_term=int(status.get("raftTerm", 0)),
            leader=hexadecimal(status.get("leader", "0")).removeprefix("0"),
            learner=bool(status.get("isLearner", False)),
            healthy=False,
            health_reason="",
            members=tuple(member_entry(m) for m in members["members"]),
            db_size=int(status.get("dbSize", 0)),
            db_in_use=int(status.get("dbSizeInUse", 0)),
            quota=0,
            alarms=alarm_entries(status.get("errors", [])),
            raft_index=int(status.get("raftIndex", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{where} gave a status and a member list that cannot be understood ({error!r})"
        raise EtcdUnseen(UnseenKind.GARBAGE, told) from error
