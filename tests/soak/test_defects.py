"""Guards are taken out of the code, one kind at a time: the story that each was made for then breaks its promise,
and with the guard it does not.

One for each kind of wrong act that an attack on the model found (F1 to F21), in
`tests/soak/defects.py`, and a few more:

| kind | what is taken out | the rule that catches it |
| --- | --- | --- |
| F1 | after a restart nothing is begun before a sweep; a pause is asked | before-anything-was-seen, while-paused |
| F2 | nothing is started over an empty etcd directory | etcd-started-over-nothing |
| F3 | a second history stops what runs unasked | unasked-in-a-split |
| F4 | the first that does not come back ends the plan | second-node-down |
| F5 | a setback is proven by a second sweep | acted-on-nothing |
| F6 | the flag rests on a sweep that began after the step before | forced-while-quorum-lives |
| F7 | what was seen and the survivor lacks is told | loss-not-told |
| F8 | nothing is forced while a cure is in sight | forced-in-haste, forced-while-curable |
| F9 | what was approved is what would be planned now | forced-not-the-newest |
| F10 | no act on a sweep of any age | on-old-evidence |
| F11 | no member is removed by the word of a second history | removed-in-a-split |
| F12 | patience is had in full, and begins anew with an absence | forced-in-haste |
| F13 | no voting member is restarted while quorum needs it | quorum-lost-by-act |
| F14 | no two plans keep to the same name | certificates-made-worse |
| F15 | a person at work is asked; of two bastions one acts | under-a-persons-hands, two-bastions-at-once |
| F16 | data are looked for where they were, too | restore-over-whole-data |
| F17 | what always asks asks | without-decision |
| F18 | silent machines are no proof while no worker is seen | forced-when-half-blind |
| F19 | what was not begun is not past the point of no return | not-taken-back |
| F20 | a step is begun three times at the most | again-and-again |
| F21 | nothing goes on while the cluster cannot be seen | while-unobservable |

F11 has no story here: a removal stands behind four guards, none of which is the last; the act itself is a case
of `tests/soak/test_rules.py`.
"""

from __future__ import annotations

import re

import pytest

from tests.soak.defects import DEFECTS
from tests.soak.player import play
from tests.soak.test_rules import CAUGHT


@pytest.mark.parametrize("guard", DEFECTS)
def test_a_story_breaks_its_promise_without_the_guard(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defect = DEFECTS[guard]
    assert not play(defect.story).wrong, "with the guard"
    defect.take_out(monkeypatch)
    assert defect.breaks in [w.what for w in play(defect.story).wrong]


def test_there_is_one_for_each_kind_and_the_table_names_what_catches_it() -> None:
    assert __doc__ is not None
    told = {
        line[1]: set(line[2].split(", "))
        for line in re.finditer(r"^\| (F\d+) \| .* \| (.*) \|$", __doc__, re.MULTILINE)
    }
    assert list(told) == [f"F{n}" for n in range(1, 22)]
    made: dict[str, set[str]] = {"F11": {rule for _, rule in CAUGHT.values() if rule == "removed-in-a-split"}}
    for guard, defect in DEFECTS.items():
        if number := re.match(r"F\d+", guard):
            made.setdefault(number[0], set()).add(defect.breaks)
    assert made == told
