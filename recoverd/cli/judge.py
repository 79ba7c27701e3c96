"""`recoverd judge`: a dump of a cluster, judged again by the code at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import ValidationError

from recoverd.config.mistakes import said
from recoverd.diagnose import diagnose
from recoverd.machine import ClusterMachine
from recoverd.machine.decide import Choice
from recoverd.machine.state import Sweep
from recoverd.model.codec import load
from recoverd.model.dump import Dump
from recoverd.model.text import utc
from recoverd.playbooks import registry


def judged(text: str) -> str:
    """The state, every finding with its evidence, and the remedy for what was confirmed. Raises
    `ValueError` for what is no dump.
    """
    return "".join(f"{line}\n" for line in _lines(load(Dump, text)))


def wrong(error: ValueError) -> str:
    """What `judged` has raised, in a few words: where in the file the first mistake is."""
    if not isinstance(error, ValidationError):
        return str(error).split("\n")[0]
    first = error.errors(include_url=False)[0]
    at = ".".join(map(str, first["loc"]))
    return (
        "it is not JSON, or not all of it" if first["type"] == "json_invalid" else f"{at or 'the whole'}: {said(first)}"
    )


def _lines(dump: Dump) -> Iterator[str]:
    busy = dump.record.plan.id if dump.record.plan and dump.record.run else ""
    diagnosis = diagnose(dump.observation, dump.memory, dump.settings, busy)
    yield f"{dump.settings.name} at {utc(dump.observation.at)}: {diagnosis.state}"
    yield f"recoverd {dump.recoverd} stood in {dump.record.state}"
    yield diagnosis.summary
    for finding in diagnosis.findings:
        yield ""
        yield f"{finding.severity} {finding.code} {finding.subject}".rstrip()
        yield f"  {finding.message}"
        yield from (f"  | {line}" for line in finding.evidence)
    yield ""
    machine = ClusterMachine(dump.settings, registry(), now=dump.observation.at, record=dump.record, memory=dump.memory)
    machine.state = replace(machine.state, sweep=Sweep(dump.observation, diagnosis))
    yield from _remedy(machine.remedy())


def _remedy(choice: Choice) -> Iterator[str]:
    if choice.playbook is None or choice.proposal is None:
        yield "no remedy" + (f": {'; '.join(choice.reasons)}" if choice.reasons else " for what is confirmed")
        return
    yield f"remedy: {choice.playbook.name}: {choice.proposal.summary}"
    yield from (f"  {n}. {step.host}: {step.description}" for n, step in enumerate(choice.proposal.steps, 1))
