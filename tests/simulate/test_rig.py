"""The rules that the rig holds a story against let nothing pass that they are there for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.plan import Step
from recoverd.model.record import Run
from recoverd.model.webhook_operations import AwaitService, RelaxWebhook, TightenWebhook
from tests.simulate.rig import takes_back
from tests.unit.builders import NOW
from tests.unit.test_journal import a_plan

AT = ("validatingwebhookconfigurations", "policy-validator", "policy.example.com")
BACK = TightenWebhook(*AT)
STEPS = (
    Step("cp1", "pass it by", RelaxWebhook(*AT, "17"), 30.0, undo=BACK),
    Step("cp1", "see it serve", AwaitService("default/policy-validator"), 300.0),
    Step("cp1", "put it back", BACK, 30.0),
    Step("cp1", "put another back", TightenWebhook(*AT[:2], "other.example.com"), 30.0),
)


@pytest.mark.parametrize(
    ("index", "done", "back", "may"),
    [
        (2, 1, (), True),
        (0, -1, (), False),
        (1, 0, (), False),
        (2, -1, (), False),
        (2, 1, (0,), False),
        (3, 2, (), False),
    ],
    ids=["put back", "the change itself", "another step", "nothing was changed", "it is back already", "of another"],
)
def test_what_is_healthy_is_touched_only_to_put_back_what_the_plan_changed(
    index: int, done: int, back: tuple[int, ...], may: bool
) -> None:
    plan = replace(a_plan(), steps=STEPS)
    assert takes_back(plan, Run(NOW, index, done=done, back=back)) is may
