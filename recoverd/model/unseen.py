"""What could not be seen, and why; never a statement about the thing itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UnseenKind(StrEnum):
    """Why a source could not be seen. None of these says that the thing itself is broken."""

    UNREACHABLE = "unreachable"
    """No route, no answer to the connection attempt, or the name does not resolve."""
    REFUSED = "refused"
    """The host answered, and nothing listens on the port."""
    TIMEOUT = "timeout"
    """Connected, and no answer came before the deadline."""
    DENIED = "denied"
    """The credentials were not accepted: wrong SSH key, forbidden by RBAC, sudo wants a password."""
    UNTRUSTED = "untrusted"
    """The other side could not prove who it is: a host key or a certificate that is not the expected one."""
    GARBAGE = "garbage"
    """An answer came that cannot be understood."""
    NOT_TRIED = "not-tried"
    """Something that this source needs was itself unseen."""
    OWN = "own"
    """The bastion's or recoverd's own trouble: it was late itself, has no file handle left, or cannot read what it
    needs. Nothing was asked, so nothing is silent.
    """

    @property
    def of_the_other_side(self) -> bool:
        """Whether anybody else who asks there would fare the same; the others are of who asks, or of what came."""
        return self in (UnseenKind.UNREACHABLE, UnseenKind.REFUSED, UnseenKind.TIMEOUT, UnseenKind.UNTRUSTED)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A source that could not be seen; `reason` says to the operator what was tried, on
    which host, and what came back.
    """

    kind: UnseenKind
    reason: str
    sure: bool = False
    """The kernel itself says that nobody answered, however late recoverd was: it had sent the request to connect more
    than once.
    """
