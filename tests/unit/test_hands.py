"""Every kind of operation has one hand in the live world and one on the model, and a title and a command in words."""

from __future__ import annotations

import recoverd.act
import recoverd.simulate.act  # noqa: F401  has every hand named, as the other
from recoverd.act.carry import HANDS
from recoverd.model.node_operations import AwaitNodeWell
from recoverd.model.operations import HostOperation, Operation, Shell, kinds_of
from recoverd.simulate.carry import HANDS as ON_MODEL

NOT_ON_MODEL = {Shell, AwaitNodeWell}
"""The text of a command is never read there, and what is settled is judged by the machine."""


def test_every_kind_of_operation_has_one_hand() -> None:
    assert set(HANDS) == set(kinds_of(Operation))
    assert set(ON_MODEL) == set(kinds_of(Operation)) - NOT_ON_MODEL


def test_every_operation_says_what_it_is() -> None:
    for kind in kinds_of(Operation):
        assert kind.__doc__ and hasattr(kind, "command"), kind
    for kind in kinds_of(HostOperation):
        assert isinstance(getattr(kind, "title", None), property), kind
