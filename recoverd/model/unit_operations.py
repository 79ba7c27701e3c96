"""What is done to the units and static pods of one machine: started, restarted, awaited. Data, as in `operations`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from recoverd.model.etcd_guards import not_anew
from recoverd.model.shell import PIDS, complain


@dataclass(frozen=True, slots=True)
class Unit:
    """Start or restart a systemd unit and see it active. A restart is not repeated after a crash unless the unit is not active."""

    verb: Literal["start", "restart"]
    unit: str
    kind: Literal["unit"] = "unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"systemctl {self.verb} {self.unit}"

    def command(self) -> str:
        return (
            f"set -eu\n{_guarded(self.unit)}systemctl reset-failed {self.unit} 2>/dev/null || true\n"
            f"systemctl {self.verb} {self.unit}\nsystemctl is-active {self.unit}"
        )

    def check(self) -> str:
        return f"systemctl is-active --quiet {self.unit}"


@dataclass(frozen=True, slots=True)
class RestartUnit:
    """Restart a systemd unit whether it is active or not, since what it holds in its memory is what is wrong. Restarting twice does no harm."""

    unit: str
    kind: Literal["restart-unit"] = "restart-unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"systemctl restart {self.unit}"

    def command(self) -> str:
        return f"set -eu\n{_guarded(self.unit)}systemctl reset-failed {self.unit} 2>/dev/null || true\nsystemctl restart {self.unit}"

    def check(self) -> str:
        return ""  # active before and after: it cannot be told, so a resumed one restarts it again


@dataclass(frozen=True, slots=True)
class AwaitUnit:
    """Wait until a unit has been active for `stable` seconds without a break; one that fails at once looks active for a moment."""

    unit: str
    stable: int
    seconds: int
    kind: Literal["await-unit"] = "await-unit"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.unit} to stay up for {self.stable} s"

    def command(self) -> str:
        tell = f"{{ systemctl status --no-pager -n 3 {self.unit} 2>&1 | tail -n 3 >&2; }}"
        return _until(self.check(), self.seconds, f"{self.unit} has not been active for {self.stable} s", tell)

    def check(self) -> str:
        """systemd counts in microseconds of the monotonic clock since the boot, /proc/uptime in seconds."""
        show = f"systemctl show --property={{}} {self.unit} | cut -d= -f2"
        entered = "$(" + show.format("ActiveEnterTimestampMonotonic") + ")"
        return (
            f"{{ systemctl is-active --quiet {self.unit} && read -r up rest </proc/uptime && "
            f"test $(( ${{up%%.*}} - {entered} / 1000000 )) -ge {self.stable}; }}"
        )


@dataclass(frozen=True, slots=True)
class RestartStaticPod:
    """End a static pod's process and wait until kubelet has started another: the quickest restart, and the manifest is not touched."""

    component: str
    seconds: int
    signal: Literal["TERM", "KILL"] = "TERM"
    """KILL for what does not hear TERM as the first process of its container (kube-proxy, observed)."""
    static: bool = True
    """False for the process of another kind of pod (kube-proxy's DaemonSet)."""
    start: bool = False
    """Where none runs, at first or for 15 s on end, kubelet is restarted: only that ends a crash-loop back-off of up to 5 minutes, remembered
    for 10 (observed: an API server that was restarted often during an incident was started no more within 90 s).
    """
    kind: Literal["restart-static-pod"] = "restart-static-pod"
    repeatable = True

    @property
    def title(self) -> str:
        return f"restarting the static pod {self.component}"

    def command(self) -> str:
        none = "systemctl restart kubelet" if self.start else complain(f"no {self.component} runs here")
        held = "none=$((none+1)); [ $none -ne 45 ] || systemctl restart kubelet; " if self.start else ""  # asked three times a second
        of_etcd = self.component == "etcd"
        guard = not_anew(f"a restart of {self.component}", beside=not of_etcd) if of_etcd or self.start else ""
        return (
            f"set -eu\n{guard}{PIDS}\nrunning() {{ pids {self.component}{'' if self.static else ' any'}; }}\nold=$(running)\n"
            f"""test -n "$old" || {none}\nfor p in $old; do kill -s {self.signal} ${{p##*/}}; done\n"""
            f'none=0\nanother() {{ now=$(running); [ -n "$now" ] || {{ {held}return 1; }}; none=0; '
            'for p in $now; do for o in $old; do [ "$p" != "$o" ] || return 1; done; done; }\n'
            + _until("another", self.seconds, f"kubelet has started no new {self.component} within {self.seconds} s")
        )

    def check(self) -> str:
        return ""  # another process than which one cannot be told after a crash; a second restart does no harm


@dataclass(frozen=True, slots=True)
class AwaitContainerGone:
    """Wait until no process of a static pod's component runs on the host: moving a manifest away only asks kubelet to stop it."""

    component: str
    seconds: int
    kind: Literal["await-container-gone"] = "await-container-gone"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.component} to be gone"

    def command(self) -> str:
        return _until(self.check(), self.seconds, f"{self.component} still runs after {self.seconds} s")

    def check(self) -> str:
        return f"! {_running(self.component)}"


@dataclass(frozen=True, slots=True)
class AwaitFlag:
    """Wait until the component runs with (or, `present` false, without) a command-line flag: kubelet takes a moment to act on a changed manifest."""

    component: str
    flag: str
    present: bool
    seconds: int
    kind: Literal["await-flag"] = "await-flag"
    repeatable = True

    @property
    def title(self) -> str:
        return f"waiting for {self.component} to run {'with' if self.present else 'without'} {self.flag}"

    def command(self) -> str:
        what = f"{self.component} does not run {'with' if self.present else 'without'} {self.flag} after {self.seconds} s"
        return _until(self.check(), self.seconds, what)

    def check(self) -> str:
        """At least one process of it runs and every one is as wanted; one that is ending has no command line any more and does not count."""
        wanted, other = ("r=0", "{ r=1; break; }") if self.present else ("{ r=1; break; }", "r=0")
        flag = shlex.quote(self.flag.replace(".", "[.]") + "(=true)?")
        return (
            f"{{ {PIDS}\nr=1; for p in $(pids {self.component}); do "
            'a=$(tr "\\0" "\\n" 2>/dev/null <$p/cmdline) && [ -n "$a" ] || continue; '
            f'if printf "%s\\n" "$a" | grep -qxE -e {flag}; then {wanted}; else {other}; fi; done; [ $r = 0 ]; }}'
        )


@dataclass(frozen=True, slots=True)
class Unstick:
    """When no process of the component runs, restart kubelet: only that clears a crash-loop back-off of up to 5 minutes (observed); pods run on.

    With `patience` kubelet has had no time yet to act on a manifest, and an old process may still be ending: then that many seconds in a row
    without a process are waited for, and five with one end the waiting. Observed: a manifest put back with the very content that ran before
    has the same UID for kubelet, and sat in a back-off of 60 s.
    """

    component: str
    patience: int = 0
    kind: Literal["unstick"] = "unstick"
    repeatable = True

    @property
    def title(self) -> str:
        return f"starting {self.component} out of its back-off"

    def command(self) -> str:
        restart = f"{_guarded('kubelet')}systemctl restart kubelet"
        if not self.patience:
            return f"{_running(self.component)} || {{ {restart}; }}"
        return (
            f"with=0 without=0 i=0\nwhile [ $with -lt 5 ] && [ $i -lt {self.patience + 30} ]; do\n"
            f"if {_running(self.component)}; then with=$((with+1)) without=0; else with=0 without=$((without+1)); fi\n"
            f"[ $without -lt {self.patience} ] || {{ {restart}; exit; }}\ni=$((i+1)); sleep 1\ndone"
        )

    def check(self) -> str:
        return ""  # kubelet is active whether or not it was restarted; asking `command` again does no harm


UnitOperation = Unit | RestartUnit | AwaitUnit
PodOperation = RestartStaticPod | AwaitContainerGone | AwaitFlag | Unstick


def _guarded(unit: str) -> str:
    """Before a unit is started, which may start what is in place. A runtime that is restarted may end what runs, and kubelet does not."""
    return not_anew(unit, beside=unit == "kubelet")


def _running(component: str) -> str:
    """A shell condition: does a process of the component run?"""
    return f'{{ {PIDS}\n[ -n "$(pids {component})" ]; }}'


def _until(condition: str, seconds: int, otherwise: str, tell: str = ":") -> str:
    """A shell loop that ends when the condition holds, or fails after about so many seconds; `tell` says more about it first."""
    return (
        f"i=0; until {condition}; do i=$((i+1)); [ $i -lt {3 * seconds} ] || {{ {tell}; echo {shlex.quote(otherwise)} >&2; exit 4; }}; "
        "sleep 0.3 2>/dev/null || sleep 1; done"
    )
