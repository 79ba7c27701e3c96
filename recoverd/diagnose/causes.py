"""Why a program ends or a pod does not start, by its own words: one table of what is said, what that means, and
what a person does about it. Pure.

What is classified is untrusted text, cut and without control characters when it comes here; nothing of it is ever run.
A row is added with the line that it was made for, in `tests/unit/test_causes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recoverd.diagnose.cause import IMAGE, KUBELET, SANDBOX, Cause
from recoverd.diagnose.causes_of_agents import CAUSES_OF_AGENTS
from recoverd.diagnose.causes_of_control_planes import CAUSES_OF_CONTROL_PLANES
from recoverd.diagnose.causes_of_images import CAUSES_OF_IMAGES
from recoverd.diagnose.causes_of_limits import CAUSES_OF_LIMITS
from recoverd.diagnose.causes_of_nodes import CAUSES_OF_NODES
from recoverd.diagnose.causes_of_reports import CAUSES_OF_REPORTS
from recoverd.diagnose.causes_of_runtimes import CAUSES_OF_RUNTIMES
from recoverd.diagnose.causes_of_sandboxes import CAUSES_OF_SANDBOXES
from recoverd.diagnose.causes_of_starts import CAUSES_OF_STARTS

CAUSES = (
    *CAUSES_OF_LIMITS,
    *CAUSES_OF_STARTS,
    *CAUSES_OF_NODES,
    *CAUSES_OF_REPORTS,
    *CAUSES_OF_SANDBOXES,
    *CAUSES_OF_IMAGES,
    *CAUSES_OF_RUNTIMES,
    *CAUSES_OF_CONTROL_PLANES,
    *CAUSES_OF_AGENTS,
)
OF_ONE_POD = re.compile(
    r"\bpod=\"|[Ss]yncing pod|PodSandbox|mirror pod|[Pp]ull(?:ing|ed)? image|PullImage|ount(?:Volume|Device)\b|"
    r"pod_workers\.go|kuberuntime_\w+\.go|image_manager\.go|remote_(?:image|runtime)\.go|nestedpendingoperations\.go"
)
"""kubelet says so of a pod, its images or its volumes, every few minutes on most nodes. A registry that answers 401 or
has another CA, and a webhook that keeps a mirror pod away, are no cause of what kubelet itself does not do: only what
would be said of every pod on the machine is.
"""
QUOTED = 120
"""Characters of what a line names, in a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause as a program has named it."""

    cause: Cause
    line: str
    """In which words."""
    why: str
    cure: str
    named: tuple[str, ...] = ()
    """What the line names."""
    seen: bool = False
    """It was seen of the machine, and no program has said it: `line` tells what was seen."""


def reason(lines: Sequence[str], program: str) -> Reason | None:
    """The newest of these lines in which the program names a cause; where none is, the
    newest that may be its consequence.
    """
    for weak in (False, True):
        for line in reversed(lines):
            if found := _of_line(line, program, weak):
                return found
    return None


def reason_of_pod(kubelet: Sequence[str], component: str) -> Reason | None:
    """Why kubelet does not start this static pod, by its own words."""
    return reason(kubelet, SANDBOX) or reason([line for line in kubelet if component in line], IMAGE)


def _of_line(line: str, program: str, weak: bool) -> Reason | None:
    of_a_pod = program == KUBELET and OF_ONE_POD.search(line) is not None
    for cause in CAUSES:
        if of_a_pod and SANDBOX not in cause.of:
            continue
        if program in cause.of and cause.weak is weak and (said := cause.says.search(line)):
            # a pattern that knows several ways to say it has a group for each: what is said comes first
            known = [group.replace('\\"', '"')[:QUOTED] for group in said.groups() if group]
            named = known + ["?"] * (len(said.groups()) - len(known))
            return Reason(cause, line, cause.why.format(*named), cause.cure.format(*named), tuple(named))
    return None
