"""What is done to the units and static pods of one machine: started, restarted, awaited. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall


@dataclass(frozen=True, slots=True)
class Unit(HostCall):
    """Start or restart a systemd unit and see it active. A restart is not repeated after a crash
    unless the unit is not active.
    """

    verb: Literal["start", "restart"]
    unit: str
    kind: Literal["unit"] = "unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"systemctl {self.verb} {self.unit}"

    def call(self) -> Call:
        return Call.of("start_unit", self.verb, self.unit, does=self.title)

    def check(self) -> Call:
        return Call.of("unit_active", self.unit)


@dataclass(frozen=True, slots=True)
class RestartUnit(HostCall):
    """Restart a systemd unit whether it is active or not, since what it holds in its memory is what is wrong.
    Restarting twice does no harm.
    """

    unit: str
    kind: Literal["restart-unit"] = "restart-unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"systemctl restart {self.unit}"

    def call(self) -> Call:
        return Call.of("restart_unit", self.unit, does=self.title)

    def check(self) -> None:
        return None  # active before and after: it cannot be told, so a resumed one restarts it again


@dataclass(frozen=True, slots=True)
class AwaitUnit(HostCall):
    """Wait until a unit has been active for `stable` seconds without a break; one that fails at
    once looks active for a moment.
    """

    unit: str
    stable: int
    seconds: int
    kind: Literal["await-unit"] = "await-unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.unit} to stay up for {self.stable} s"

    def call(self) -> Call:
        return Call.of("await_unit", self.unit, self.stable, self.seconds)

    def check(self) -> Call:
        return Call.of("stays_up", self.unit, self.stable)


@dataclass(frozen=True, slots=True)
class RestartStaticPod(HostCall):
    """End a static pod's process and wait until kubelet has started another: the quickest restart,
    and the manifest is not touched.
    """

    component: str
    seconds: int
    signal: Literal["TERM", "KILL"] = "TERM"
    """KILL for what does not hear TERM as the first process of its container (kube-proxy, observed)."""
    static: bool = True
    """False for the process of another kind of pod (kube-proxy's DaemonSet)."""
    start: bool = False
    """Where none runs, at first or for 15 s on end, kubelet is restarted: only that ends a crash-loop back-off
    of up to 5 minutes, remembered for 10 (observed: an API server that was restarted often during an incident
    was started no more within 90 s).
    """
    kind: Literal["restart-static-pod"] = "restart-static-pod"
    repeatable = True

    @property
    def title(self) -> str:
        return f"restarting the static pod {self.component}"

    def call(self) -> Call:
        which = "" if self.static else "any"
        does = f"kill -s {self.signal} {self.component} (kubelet starts another)"
        return Call.of("restart_pod", self.component, self.seconds, self.signal, which, self.start, does=does)

    def check(self) -> None:
        return None  # another process than which one cannot be told after a crash; a second restart does no harm


@dataclass(frozen=True, slots=True)
class AwaitContainerGone(HostCall):
    """Wait until no process of a static pod's component runs on the host: moving a manifest
    away only asks kubelet to stop it.
    """

    component: str
    seconds: int
    kind: Literal["await-container-gone"] = "await-container-gone"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.component} to be gone"

    def call(self) -> Call:
        return Call.of("gone", self.component, self.seconds)

    def check(self) -> Call:
        return Call.of("nobody", self.component)


@dataclass(frozen=True, slots=True)
class AwaitFlag(HostCall):
    """Wait until the component runs with (or, `present` false, without) a command-line flag: kubelet takes a
    moment to act on a changed manifest.
    """

    component: str
    flag: str
    present: bool
    seconds: int
    kind: Literal["await-flag"] = "await-flag"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.component} to run {self._how} {self.flag}"

    def call(self) -> Call:
        return Call.of("await_flag", self.component, self.flag, self._how, self.seconds)

    def check(self) -> Call:
        return Call.of("runs_flag", self.component, self.flag, self._how)

    @property
    def _how(self) -> str:
        return "with" if self.present else "without"


@dataclass(frozen=True, slots=True)
class Unstick(HostCall):
    """When no process of the component runs, restart kubelet: only that clears a crash-loop back-off of up to 5
    minutes (observed); pods run on.

    With `patience` kubelet has had no time yet to act on a manifest, and an old process may still be ending: then that
    many seconds in a row without a process are waited for, and five with one end the waiting. Observed: a manifest put
    back with the very content that ran before has the same UID for kubelet, and sat in a back-off of 60 s.
    """

    component: str
    patience: int = 0
    kind: Literal["unstick"] = "unstick"
    repeatable = True

    @property
    def title(self) -> str:
        return f"starting {self.component} out of its back-off"

    def call(self) -> Call:
        return Call.of("unstick", self.component, self.patience, does="systemctl restart kubelet, if none runs")

    def check(self) -> None:
        return None  # kubelet is active whether or not it was restarted; asking `call` again does no harm


UnitOperation = Unit | RestartUnit | AwaitUnit
PodOperation = RestartStaticPod | AwaitContainerGone | AwaitFlag | Unstick
