"""What is done on a machine: one function of the shell library (`recoverd.shell`) with its arguments. Pure; the
text of the library is not here.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one function. This is the one place where anything is quoted for a shell, so no
    argument is ever expanded or split.
    """

    function: str
    arguments: tuple[str, ...] = field(default=(), repr=False)
    """Not in its repr, since a join's token may be among them."""
    does: str = ""
    """The one command in it that matters, for who reads a plan."""

    @classmethod
    def of(cls, function: str, *arguments: str | int | bool, does: str = "") -> Call:
        """A call with its arguments as the library takes them: numbers in digits, truth as yes or no."""
        return cls(function, tuple(("yes" if a else "no") if isinstance(a, bool) else str(a) for a in arguments), does)

    @property
    def line(self) -> str:
        """The call as a shell reads it. It has more than one line where an argument has."""
        return " ".join((self.function, *map(shlex.quote, self.arguments)))

    @property
    def shown(self) -> str:
        """The call as a person reads it; a shell reads the same."""
        return f"{self.line}  # {' '.join(self.does.split())}" if self.does else self.line


class HostCall(ABC):
    """An operation that is one call on its host."""

    __slots__ = ()

    @abstractmethod
    def call(self) -> Call:
        """What does it."""

    @abstractmethod
    def check(self) -> Call | None:
        """What exits 0 when its effect is there already; None where that cannot be told."""

    def command(self) -> str:
        """What a plan shows of it."""
        return self.call().shown

    def gist(self) -> str:
        """The one command in it that matters."""
        call = self.call()
        return call.does or call.line.partition("\n")[0]
