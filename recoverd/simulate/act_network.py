"""Parts of a node's network put back on the model, as over SSH."""

from __future__ import annotations

import re

from recoverd.model.network_operations import LinkUp, NetworkOperation, PutBridge, PutRoute, Sysctl
from recoverd.model.plan import StepResult
from recoverd.simulate.hosts import Machine

FORWARDING = "net.ipv4.ip_forward"
ROUTE = re.compile(r"10\.244\.(\d+)\.0/24 ")


def put_back(machine: Machine, operation: NetworkOperation) -> StepResult:
    """Carry it out at once."""
    match operation:
        case Sysctl(key=key, value=value):
            if key == FORWARDING:
                machine.forwarding = value == "1"
            return StepResult(True, f"{key} on {machine.name} is {value}")
        case PutRoute(route=route):
            to = ROUTE.match(route)
            if to:
                machine.lost_routes.discard(int(to[1]))
            return StepResult(True, f"{machine.name} has the route {route}")
        case PutBridge(name=name):
            machine.gone.discard(name)
            machine.down.discard(name)
            machine.loose = False
            return StepResult(True, f"the bridge {name} on {machine.name} is there, and its pods hang on it")
        case LinkUp(name=name):
            if name in machine.gone:
                return StepResult(False, f'on {machine.name}: Cannot find device "{name}"')
            machine.down.discard(name)
            return StepResult(True, f"{name} on {machine.name} is up")
