"""Parts of a node's network put back on the model, as over SSH; each at once."""

from __future__ import annotations

import re

from recoverd.model.network_operations import BRIDGED, FORWARDING, AcceptForwards, LinkUp, PutBridge, PutRoute, Sysctl
from recoverd.model.plan import StepResult
from recoverd.simulate.carry import Carry, hand

ROUTE = re.compile(r"10\.244\.(\d+)\.0/24 ")


@hand(Sysctl)
def sysctl(o: Sysctl, at: Carry) -> StepResult:
    if o.key == FORWARDING:
        at.machine.forwarding = o.value == "1"
    if o.key == BRIDGED:
        at.machine.bridge_netfilter = o.value == "1"
    return StepResult(True, f"{o.key} on {at.name} is {o.value}")


@hand(PutRoute)
def put_route(o: PutRoute, at: Carry) -> StepResult:
    if to := ROUTE.match(o.route):
        at.machine.lost_routes.discard(int(to[1]))
    return StepResult(True, f"{at.name} has the route {o.route}")


@hand(PutBridge)
def put_bridge(o: PutBridge, at: Carry) -> StepResult:
    at.machine.gone.discard(o.name)
    at.machine.down.discard(o.name)
    at.machine.loose = False
    return StepResult(True, f"the bridge {o.name} on {at.name} is there, and its pods hang on it")


@hand(AcceptForwards)
def accept_forwards(o: AcceptForwards, at: Carry) -> StepResult:
    at.machine.filtered = False
    return StepResult(True, f"FORWARD on {at.name} has the policy ACCEPT")


@hand(LinkUp)
def link_up(o: LinkUp, at: Carry) -> StepResult:
    if o.name in at.machine.gone:
        return StepResult(False, f'on {at.name}: Cannot find device "{o.name}"')
    at.machine.down.discard(o.name)
    return StepResult(True, f"{o.name} on {at.name} is up")
