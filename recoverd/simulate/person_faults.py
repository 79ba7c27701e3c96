"""What people do on machines, by hand and by their programs: as `faults`, which names them."""

from __future__ import annotations

from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.texts import path_of


def set_aside(c: ModelCluster, name: str, *components: str) -> None:
    """Manifests are moved out of kubelet's sight by a person."""
    machine = c.machines[name]
    for component in components:
        path = f"/root/{component}.yaml"
        machine.files[path] = machine.files.pop(path_of(component))
        machine.aside[component] = path, c.now


def put_back(c: ModelCluster, name: str, *components: str) -> None:
    """What `set-aside` has moved away."""
    machine = c.machines[name]
    for component in components:
        path, _ = machine.aside.pop(component)
        machine.files[path_of(component)] = machine.files.pop(path)


def log_in(c: ModelCluster, name: str, user: str = "alice") -> None:
    """Somebody opens a terminal on a machine."""
    c.machines[name].terminals[user] = c.now


def log_out(c: ModelCluster, name: str, user: str = "alice") -> None:
    """The terminal is closed."""
    c.machines[name].terminals.pop(user, None)


def leave_terminal(c: ModelCluster, name: str, user: str = "alice") -> None:
    """Nothing is typed there any more."""
    c.machines[name].typed[user] = c.now


def run_program(c: ModelCluster, name: str, *words: str) -> None:
    """A program is started on a machine, as a package manager by its timer."""
    c.machines[name].programs[" ".join(words)] = c.now


def end_programs(c: ModelCluster, name: str) -> None:
    """Those of `run-program` end."""
    c.machines[name].programs.clear()


def keep_hands_off(c: ModelCluster, name: str, *words: str) -> None:
    """Somebody writes /run/recoverd/hands-off there; without words it is taken away."""
    c.machines[name].hands_off = f"root: {' '.join(words)}" if words else ""
