"""One episode on a lab cluster, from its first trouble until the cluster is well again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.lab import etcd
from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.soak import judge, truth
from tests.lab.soak.trouble import Episode, Trouble
from tests.lab.witness import boots

PATIENCE = 300.0
"""Seconds that recoverd has. An API server that was ended some times is kept back by kubelet for a minute and more."""
QUIET = 25.0
"""Seconds without anything new after which a cluster that is called healthy is taken at its word: what
just happened is found by then.
"""
LOOKS = 5.0
"""Seconds between two questions to etcd which cluster it is."""
SETTLES = 60.0
"""Seconds that what is told healthy has to be so: endpoints and rules follow the nodes."""


@dataclass
class Turn:
    """One episode while it is played."""

    cluster: Cluster
    bastion: Bastion
    episode: Episode
    began: float = field(default_factory=time.monotonic)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    histories: list[str] = field(default_factory=list)
    restarts: int = 0
    escalated: bool = False
    mended: bool = False
    last: float = 0.0
    """When something was done by the episode."""
    looked: float = -LOOKS
    asked: dict[str, float] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @property
    def at(self) -> float:
        return time.monotonic() - self.began

    def say(self, what: str) -> None:
        self.log.append(f"+{self.at:.0f} {what}")

    # --- what happens ---

    def schedule(self) -> None:
        for place, (trouble, machine) in enumerate(self.episode.troubles):
            at = place * self.episode.apart
            self.due.append((at, lambda t=trouble, m=machine: self._strike(t, m)))  # type: ignore[misc]
            if trouble.seconds:
                self.due.append((at + trouble.seconds, lambda t=trouble, m=machine: self._mend(t, m)))  # type: ignore[misc]
        if self.episode.daemon != "lives":
            self.due.append((self.episode.after, self._daemon))

    def _strike(self, trouble: Trouble, machine: str) -> None:
        node, plane = self.cluster.node(machine), truth.planes(self.cluster)[0]
        self.say(f"{trouble.name} ({machine})")
        if trouble.paused:
            self.bastion.ctl("pause", self.bastion.name, "--reason", "the lab's soak")
        if trouble.cordoned:
            plane.sh(f"kubectl cordon {machine} >/dev/null")
            self._awaited_cordon(machine)
        if trouble.phantom:
            etcd.add_phantom(node, f"10.99.{self.cluster.number}.99")
        elif trouble.power:
            node.power_off()
        else:
            node.sh(trouble.strike, check=False)

    def _awaited_cordon(self, machine: str) -> None:
        """recoverd has seen the cordon: a person does not stop kubelet within the same second."""
        before = self.bastion.status()["last_sweep"]
        self.bastion.wait("two more sweeps", lambda: self.bastion.status()["last_sweep"] != before, 30)
        time.sleep(3)

    def _mend(self, trouble: Trouble, machine: str) -> None:
        node = self.cluster.node(machine)
        self.say(f"the person mends: {trouble.name} ({machine})")
        if trouble.power:
            node.power_on()
        else:
            node.sh(trouble.mend, check=False)
        if trouble.cordoned:
            truth.planes(self.cluster)[0].sh(f"kubectl uncordon {machine} >/dev/null", check=False)
        if trouble.paused:
            self.bastion.ctl("resume", self.bastion.name)

    def _daemon(self) -> None:
        how = self.episode.daemon
        self.say(f"recoverd is {how}")
        for _ in range(2 if "twice" in how else 1):
            if how.startswith("stopped"):
                assert self.bastion.process
                self.bastion.process.send_signal(signal.SIGSTOP)
                time.sleep(15)
                self.bastion.process.send_signal(signal.SIGCONT)
                return
            self.bastion.kill()
            self.restarts += 1
            time.sleep(60 if "late" in how else 1)
            self.bastion.start()

    # --- until it is over ---

    def play(self) -> None:
        """Returns when the cluster is called healthy, nothing is due any more and nothing
        is new; or raises TimeoutError.
        """
        self.schedule()
        while True:
            self._look()
            for each in sorted((d for d in self.due if d[0] <= self.at), key=lambda d: d[0]):
                self.due.remove(each)
                each[1]()
                self.last = self.at
            status = self.bastion.status()
            self._decide()
            healthy = status["state"] == "healthy" and not status["incident"]
            if not self.due and healthy and self.at - self.last > QUIET:
                return
            self.escalated = self.escalated or status["phase"] == "escalated"
            given_up = status["phase"] == "escalated" and self.at - self.last > 2 * QUIET
            if not self.due and not self.mended and (given_up or self.at - self.last > PATIENCE):
                self.mend_all()
            elif self.at - self.last > 2 * PATIENCE:
                raise TimeoutError(
                    f"not healthy {self.at - self.last:.0f} s after the person mended it: "
                    f"{status['state']}/{status['phase']}"
                )
            time.sleep(1)

    def mend_all(self) -> None:
        """What a person would do after recoverd has given up."""
        for trouble, machine in self.episode.troubles:
            if not trouble.phantom:
                self._mend(trouble, machine)
        self.mended, self.last = True, self.at

    def _look(self) -> None:
        if self.at - self.looked < LOOKS:
            return
        self.looked = self.at
        for node in truth.planes(self.cluster):
            if node.running and (seen := truth.history(node)) and (not self.histories or self.histories[-1] != seen):
                self.histories.append(seen)

    def _decide(self) -> None:
        """Approve what the person would, after the seconds that the person takes to read it; reject the rest."""
        wanted = {name for t, _ in self.episode.troubles for name in t.asks}
        for plan in (p for p in self.bastion.plans() if p["status"] == "awaiting-approval"):
            seen = self.asked.setdefault(plan["id"], self.at)
            if self.at - seen < self.episode.thinks:
                continue
            verb = "approve" if plan["playbook"] in wanted else "reject"
            read = ("--yes", "--digest", plan["digest"]) if verb == "approve" else ()
            answer = self.bastion.ctl(verb, plan["id"], *read, "--reason", "the lab's soak")
            if not answer.returncode:
                self.say(f"{verb}: {plan['playbook']}")
                self.last = self.at


@dataclass(frozen=True)
class Result:
    """What came of an episode."""

    episode: Episode
    outcome: str
    wrong: tuple[str, ...]
    seconds: float
    playbooks: tuple[str, ...]
    asked: tuple[str, ...]
    log: tuple[str, ...]


def play(cluster: Cluster, bastion: Bastion, episode: Episode) -> Result:
    """The episode on a cluster that is well; afterwards it is well again where nothing was wrong."""
    truth.mark(cluster, episode.number)
    was, before = truth.take(cluster), boots(cluster)
    turn = Turn(cluster, bastion, episode, histories=[was.history])
    wrong: list[str] = []
    try:
        turn.play()
        wrong += _lasting_ills(turn, was)
    except TimeoutError as error:
        wrong.append(str(error))
    done = judge.acts(bastion, turn.since, turn.restarts)
    seconds = turn.at
    wrong += judge.wrongs(episode, done, (before, boots(cluster)), turn.histories)
    kind = judge.outcome(episode, done, escalated=turn.escalated, mended=turn.mended)
    if kind == "left":
        wrong.append("it was neither healed nor given up")
    plans: dict[str, Shape] = {p["id"]: p for p in bastion.plans(everything=True)}
    asked = tuple(dict.fromkeys(plans[i]["playbook"] for i in turn.asked if i in plans))
    return Result(episode, "wrong" if wrong else kind, tuple(wrong), seconds, done.playbooks, asked, tuple(turn.log))


def _lasting_ills(turn: Turn, was: truth.Truth) -> list[str]:
    """What is ill though the cluster is called healthy, and stays so. Of what is told as
    a warning the person mends it.
    """
    end = time.monotonic() + SETTLES
    while (ills := truth.ills(turn.cluster, was, turn.episode.number)) and time.monotonic() < end:
        time.sleep(2)
    if ills == ["a manifest is not as it was"] or not ills:
        named = [f for f in turn.bastion.status()["findings"] if f["severity"] == "warning"]
        if ills and named:  # what is no fault is told as a warning, and a person's to mend
            turn.mend_all()
            turn.escalated = True
            return [] if not truth.ills(turn.cluster, was, turn.episode.number) else ills
        return ills
    return [f"called healthy, and {each}" for each in ills]
