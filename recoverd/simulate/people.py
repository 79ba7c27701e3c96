"""What people do on the model's machines, as a look shows it."""

from __future__ import annotations

from recoverd.model.people import AsideView, LoginView, PeopleView, ToolView
from recoverd.simulate.clock import moment
from recoverd.simulate.hosts import Machine


def seen(machine: Machine, now: float) -> PeopleView:
    """Times are the machine's own."""
    there = machine.manifests()
    return PeopleView(
        tuple(
            LoginView(user, f"pts/{i}", moment(at), max(0.0, now - machine.typed.get(user, now)))
            for i, (user, at) in enumerate(machine.terminals.items())
        ),
        tuple(ToolView(command, moment(at + machine.clock), now - at) for command, at in machine.programs.items()),
        machine.hands_off,
        tuple(
            AsideView(component, path, moment(at + machine.clock))
            for component, (path, at) in machine.aside.items()
            if component not in there
        ),
    )
