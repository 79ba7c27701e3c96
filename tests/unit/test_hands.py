"""Every kind of operation has one hand in the live world, and a title and a command in words."""

from __future__ import annotations

import recoverd.act  # noqa: F401  has every hand named
from recoverd.act.carry import HANDS
from recoverd.model.operations import HostOperation, Operation, kinds_of


def test_every_kind_of_operation_has_one_hand() -> None:
    assert set(HANDS) == set(kinds_of(Operation))


def test_every_operation_says_what_it_is() -> None:
    for kind in kinds_of(Operation):
        assert kind.__doc__ and hasattr(kind, "command"), kind
    for kind in kinds_of(HostOperation):
        assert isinstance(getattr(kind, "title", None), property), kind
