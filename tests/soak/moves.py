"""What can happen in a random story, and how a story is drawn from its seed. Data only; `player` carries it out."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

WAITS = (0.0, 0.0, 0.3, 1.2, 3.5, 5.0, 8.0, 12.0, 20.0, 30.0, 75.0, 200.0)
AWAY = ("0", "0", "3", "20", "120", "600", "1500", "4000")
"""Seconds that the daemon is away after a kill."""
JUMPS = ("-4000", "-300", "-90", "-20", "20", "90", "300", "1500", "4000")


@dataclass(frozen=True)
class Move:
    """One thing that happens, and for how many seconds it is then let be."""

    what: str
    args: tuple[str, ...] = ()
    then: float = 0.0

    def __str__(self) -> str:
        return " ".join((self.what, *self.args, f"[{self.then:g} s]"))

    @staticmethod
    def read(line: str) -> Move:
        head, _, then = line.strip().rpartition("[")
        what, *args = shlex.split(head)
        return Move(what, tuple(args), float(then.removesuffix("s]")))


@dataclass(frozen=True)
class Story:
    """A cluster and what happens to it."""

    seed: int
    planes: int
    workers: int
    points: bool
    """Restore points are taken, on a schedule and before plans, as in production."""
    eager: bool
    """The configuration says `automatic` for every playbook."""
    moves: tuple[Move, ...]
    external: int = 0
    """Machines of etcd's own; 0: it is on the control planes."""

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.planes} control planes, {self.workers} workers, points "
            f"{self.points}, eager {self.eager}{f', etcd on {self.external} machines of its own' * bool(self.external)}"
        )
        return "\n".join((head, *(f"  {m}" for m in self.moves)))


@dataclass(frozen=True)
class Names:
    """Who is there to have things happen to."""

    planes: tuple[str, ...]
    workers: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.planes, *self.workers)


Draw = Callable[[random.Random, Names], tuple[str, ...]]
STATIC = ("etcd", "etcd", "kube-apiserver", "kube-apiserver", "kube-controller-manager")
PLAYBOOKS = (
    "force-new-cluster", "rebuild-member", "remove-member", "renew-certificates", "restart-node-agents",
    "restore-etcd-snapshot",
    "restore-manifest", "restore-node-network", "restore-pki", "rolling-worker-reboot", "start-node-services",
)  # fmt: skip
TORN = ("hosts", "etcd", "objects", "network", "api", "one-host", "one-member")


def _of(names: Callable[[Names], Sequence[str]], most: int = 1) -> Draw:
    def draw(rng: random.Random, who: Names) -> tuple[str, ...]:
        there = list(names(who))
        return tuple(sorted(rng.sample(there, min(len(there), rng.randint(1, most)))))

    return draw


def _choice(*values: str) -> Draw:
    return lambda rng, _: (rng.choice(values),)


def _and(*draws: Draw) -> Draw:
    return lambda rng, who: tuple(x for d in draws for x in d(rng, who))


def _nothing(rng: random.Random, who: Names) -> tuple[str, ...]:
    return ()


plane, planes2 = _of(lambda n: n.planes), _of(lambda n: n.planes, 2)
worker, node, nodes3 = _of(lambda n: n.workers), _of(lambda n: n.all), _of(lambda n: n.all, 3)
unit = _choice("kubelet", "kubelet", "containerd")
most = _of(lambda n: n.planes[: len(n.planes) // 2 + 1], 3)

FAULTS: dict[str, Draw] = {
    "power-off": nodes3, "power-on": nodes3, "reboot": _and(node, _choice("5", "15", "60", "240")), "hang": node,
    "unhang": node,
    "block-peer-port": planes2, "partition": planes2, "hide": nodes3, "blind": _nothing, "heal": _nothing,
    "break-vip": _nothing,
    "delete-manifest": _and(plane, _choice(*STATIC)), "truncate-manifest": _and(plane, _choice(*STATIC)),
    "mistype-flag": _and(plane, _choice(*STATIC)), "lose-data": plane, "delete-data": most, "corrupt-data": plane,
    "stop": _and(node, unit), "start": _and(node, unit), "break-unit": _and(node, unit), "mend-unit": _and(node, unit),
    "end-etcd": plane,
    "spoil-kubelet": nodes3, "change-data-dir": plane, "move-data": plane, "put-snapshot": plane,
    "leave-force-flag": plane,
    "upgrade-manifest": _and(plane, _choice("etcd", "kube-apiserver")), "end": _and(plane, _choice(*STATIC)),
    "set-aside": _and(plane, _choice("etcd", "kube-apiserver")),
    "put-back": _and(plane, _choice("etcd", "kube-apiserver")),
    "log-in": node, "log-out": node, "cordon": node, "delete-kube-proxy": _nothing,
    "take-snapshot": _nothing, "restore-snapshot": plane, "roll-deployment": _nothing,
    "newer-etcdctl": _nothing, "join": _choice("cp9"), "block-and-join": _choice("cp9"),
    "forwarding-off": node, "wedge-tunnel": node, "delete-bridge": node, "link-down": node,
    "delete-route": _and(node, node),
    "stop-kube-proxy": nodes3, "flush-service-rules": node, "budget": _choice("0", "2", "99"),
    "expire-certificates": planes2, "expire-soon": plane, "remake-certificates": plane, "remake-pki": plane,
}  # fmt: skip
"""Every fault of the model, and those of this package."""
PEOPLE: dict[str, Draw] = {
    "approve": _nothing, "reject": _nothing, "ack": _nothing, "pause": _nothing, "resume": _nothing,
    "run": lambda rng, who: (rng.choice(PLAYBOOKS), *((rng.choice(who.all),) if rng.random() < 0.4 else ())),
    "hand-restore": _and(plane, _choice("3", "12", "20")), "hand-repair": _nothing, "hand-uncordon": node,
    "remove-node": worker, "add-node": worker,
}  # fmt: skip
TROUBLE: dict[str, Draw] = {
    "crash": _choice(*AWAY), "kill-before": _choice(*AWAY), "kill-after": _choice(*AWAY), "forget": _choice("0", "20"),
    "fail-step": _nothing, "not-begun": _nothing, "lost-answer": _nothing, "no-answer": _nothing,
    "slow-step": _choice("2", "6", "15", "45"),
    "torn": _and(_choice(*TORN), _choice("1", "1", "2", "4", "12")), "lag": _choice("3", "20", "200"),
    "sweeps-raise": _choice("1", "3", "40", "240"), "slow-sweeps": _and(_choice("1", "4"), _choice("4", "9")),
    "journal-full": _choice("4", "20", "90"), "clock": _choice(*JUMPS),
    "await-plan": _choice("60", "200", "400"), "await-step": _choice("1", "2", "3", "5", "8"),
}  # fmt: skip
LATER: dict[str, Draw] = {
    "second-daemon": _choice("40", "120", "400", "900"),
    "journal-read-only": _choice("8", "40", "150", "600"),
}
"""Kinds of trouble that came later."""
LATER_FROM = 50000
"""The first seed whose story may have them: those before stay the stories that they were, and the
fixed ones what they have found.
"""
FULL: dict[str, Draw] = {"fill-etcd": _choice("10", "300", "2040"), "empty-etcd": _nothing}
FULL_FROM = 1 << 30
"""As above: an etcd that reaches its quota came later still."""
CURABLE: dict[str, Draw] = {
    "crash-unit": _and(node, unit), "fill-disk": planes2, "break-disk": planes2, "free-disk": planes2,
    "lose-resolv-conf": planes2,
    "link-resolv-conf": planes2,
}  # fmt: skip
CURABLE_FROM = 3 << 29
"""As above: what keeps programs from running and a person can cure on the machine."""
MUTE: dict[str, Draw] = {
    "hang-unit": _and(node, unit), "mute-kubelet": node, "lose-api-name": nodes3, "delete-cni-config": nodes3,
    "delete-node": node,
}  # fmt: skip
MUTE_FROM = 7 << 28
"""As above: nodes that are not Ready though their units are active."""
LOST: dict[str, Draw] = {"expire-client-certificate": nodes3, "kubeadm-reset": planes2}
LOST_FROM = 15 << 27
"""As above: what a machine needs to start, and nobody but an operator can make again."""
UNLED: dict[str, Draw] = {
    "outlive-certificate": plane, "misdirect-controller": plane, "direct-controller": plane,
    "fail-webhook": _nothing, "ignore-webhook": _nothing,
}  # fmt: skip
UNLED_FROM = 31 << 26
"""As above: controllers that run and do not lead, and webhooks that fail closed."""
FILTERED: dict[str, Draw] = {
    "bridge-netfilter-off": node, "drop-forwards": nodes3, "accept-forwards": node,
}  # fmt: skip
FILTERED_FROM = 63 << 25
"""As above: what netfilter does to the packets of pods."""
LEAKED: dict[str, Draw] = {
    "leak-addresses": nodes3, "free-addresses": node, "roll-deployment": _nothing,
}  # fmt: skip
LEAKED_FROM = 127 << 24
"""As above: addresses of pods that are held for containers that are gone, which shows at the next pod."""
NAMED: dict[str, Draw] = {
    "encrypt-secrets": planes2, "lose-pod-file": plane, "delete-pod-file": plane, "rotate-key": plane,
    "spoil-key": plane, "restore-pod-file": plane,
}  # fmt: skip
NAMED_FROM = 255 << 23
"""As above: files that static pods name."""
MISLED: dict[str, Draw] = {
    "mislead-kube-proxy": nodes3, "lead-kube-proxy": _nothing, "roll-deployment": _nothing,
}  # fmt: skip
MISLED_FROM = 511 << 22
"""As above: kube-proxies that follow an API server which is gone."""
STUCK: dict[str, Draw] = {"name-sandbox-image": nodes3, "import-sandbox-image": nodes3}
STUCK_FROM = 1023 << 21
"""As above: pause images that are named and are not there, which shows at the next boot."""
UNPULLED: dict[str, Draw] = {
    "misname-image": _and(plane, _choice("etcd", "kube-apiserver")), "resolve-by-itself": worker, "renew-dns": worker,
    "restore-alone": plane,
}  # fmt: skip
UNPULLED_FROM = 2047 << 20
"""As above: images of static pods that are not there, a DNS that asks itself, a snapshot restored without names."""
SLOW: dict[str, Draw] = {"slow-disk": planes2, "quicken-disk": planes2}
SLOW_FROM = 4095 << 19
"""As above: disks of etcd that are slow to write through."""
COPIED: dict[str, Draw] = {
    "copy-manifest": _and(plane, _choice(*STATIC)), "remove-copy": _and(plane, _choice(*STATIC)),
    "lose-kubeconfig": nodes3,
}  # fmt: skip
COPIED_FROM = 8191 << 18
"""As above: a copy beside a manifest, and kubelets without their kubeconfig."""
CROWDED: dict[str, Draw] = {"crowd-disk": planes2, "free-disk": planes2}
CROWDED_FROM = 32767 << 16
"""As above: disks that have no room for a copy of etcd's data, as `force-new-cluster` makes one."""
IMAGELESS: dict[str, Draw] = {
    "lose-image": _and(node, _choice("kube-proxy", "kube-proxy", "flanneld")), "import-images": nodes3,
    "stop-kube-proxy": nodes3, "roll-deployment": _nothing,
}  # fmt: skip
IMAGELESS_FROM = 16383 << 17
"""As above: images of agents that are gone from their node and do not come back by themselves."""
DROPPING: dict[str, Draw] = {
    "fill-conntrack": nodes3, "raise-conntrack": node, "drop-tunnel": nodes3, "accept-tunnel": node,
    "second-uplink": node, "loosen-reverse-path": node,
    "lower-uplink": node, "lose-metrics": _nothing, "remove-api-service": _nothing, "uncordon": node,
}  # fmt: skip
DROPPING_FROM = 65535 << 15
"""As above: kernels that drop packets, uplinks that take smaller ones, and what is told and left alone."""
ASTRAY: dict[str, Draw] = {
    "set-clock": _and(node, _choice("-4000", "-600", "-20", "20", "600", "4000")), "step-clock": node,
    "end-kube-proxy": nodes3, "let-kube-proxy": nodes3, "stop-kube-proxy": nodes3,
}  # fmt: skip
ASTRAY_FROM = 131071 << 14
"""As above: machines whose clocks are wrong, and kube-proxies that end each time for what they say themselves."""
HELD: dict[str, Draw] = {
    "serve-vip": planes2, "delete-manifest": _and(plane, _choice("kube-vip")),
    "truncate-manifest": _and(plane, _choice("kube-vip")), "empty-manifest": _and(plane, _choice("kube-vip", *STATIC)),
    "balance-elsewhere": _nothing,
}  # fmt: skip
HELD_FROM = (131071 << 14) + 8192
"""As above: an API server's address that a static pod of the control planes holds, and what becomes of that."""
APART: dict[str, Draw] = {
    "power-off": planes2, "power-on": planes2, "reboot": _and(plane, _choice("5", "60", "240")),
    "partition": planes2, "block-peer-port": planes2, "heal": _nothing, "end-etcd": plane,
    "delete-data": planes2, "lose-data": plane, "corrupt-data": plane, "fill-disk": planes2, "free-disk": planes2,
    "expire-certificates": planes2, "fill-etcd": _choice("10"), "empty-etcd": _nothing,
}  # fmt: skip
"""What happens to machines that etcd has for itself. Their names are drawn as those of control planes are."""
SIGNED: dict[str, Draw] = {"sign-etcd-client": planes2}
STACKED = frozenset({
    "change-data-dir", "move-data", "put-snapshot", "put-snapshot-beyond", "leave-force-flag", "take-snapshot",
    "restore-snapshot", "join",
    "block-and-join", "join-unpromoted", "hand-restore", "restore-alone",
})  # fmt: skip
"""What happens to an etcd that is on the control planes alone."""
OF_ETCD = frozenset({"lose-data", "delete-data", "corrupt-data", "end-etcd"})
"""What happens to an etcd, wherever it is."""
APART_FROM = (131071 << 14) + 4096
"""As above: an etcd on machines of its own, in half of the stories."""
BUSY: dict[str, Draw] = {
    "run-program": _and(node, _choice("unattended-upgrade")), "end-programs": node,
    "stop": _and(node, _choice("kubelet", "containerd")), "log-in": node, "log-out": node, "leave-terminal": node,
    "keep-hands-off": _and(node, _choice("mine")),
}  # fmt: skip
BUSY_FROM = (131071 << 14) + 12288
"""As above: package managers and people at work on machines whose units stop meanwhile."""
UNVOTED: dict[str, Draw] = {
    "join-unpromoted": _choice("cp9"), "age-database": planes2, "newer-etcd": _nothing, "diverge-data": planes2,
    "take-alarm-back": _nothing,
}  # fmt: skip
UNVOTED_FROM = (131071 << 14) + 14336
"""As above: members that nobody promotes, and data that are behind their log or silently others than their peers'."""
CALLED: dict[str, Draw] = {"rename-host": node, "name-host-back": node, "put-snapshot-beyond": plane}
CALLED_FROM = (131071 << 14) + 15360
"""As above: machines that get another host name, whose kubelets end their pods, and restores by hand with a bump."""
REMADE: dict[str, Draw] = {"remake-worker": _and(worker, _choice("0", "20", "40"))}
REMADE_FROM = (131071 << 14) + 15872
"""As above: workers that are made anew under their name, with another part of the pod network."""
IDLE: dict[str, Draw] = {"idle-scheduler": plane}
IDLE_FROM = (131071 << 14) + 16128
"""As above: schedulers that lead and look at no pod."""
LATEST = (
    (MUTE_FROM, MUTE, 0.4, (1, 1, 2, 3)),
    (LOST_FROM, LOST, 0.3, (1, 1, 2)),
    (UNLED_FROM, UNLED, 0.3, (1, 1, 2, 3)),
    (FILTERED_FROM, FILTERED, 0.3, (1, 1, 2)),
    (LEAKED_FROM, LEAKED, 0.3, (2, 2, 3)),
    (NAMED_FROM, NAMED, 0.3, (2, 3, 4, 5)),
    (MISLED_FROM, MISLED, 0.3, (1, 2, 3)),
    (STUCK_FROM, STUCK, 0.3, (1, 2, 3)),
    (UNPULLED_FROM, UNPULLED, 0.3, (1, 2, 3)),
    (SLOW_FROM, SLOW, 0.3, (1, 2)),
    (COPIED_FROM, COPIED, 0.3, (1, 2, 3)),
    (CROWDED_FROM, CROWDED, 0.3, (1, 2)),
    (IMAGELESS_FROM, IMAGELESS, 0.3, (1, 2, 3)),
    (DROPPING_FROM, DROPPING, 0.3, (1, 2, 3)),
    (ASTRAY_FROM, ASTRAY, 0.3, (1, 2, 3)),
    (BUSY_FROM, BUSY, 0.3, (2, 3, 4)),
    (HELD_FROM, HELD, 0.3, (2, 3, 4)),
    (UNVOTED_FROM, UNVOTED, 0.5, (1, 2, 3)),
    (CALLED_FROM, CALLED, 0.5, (1, 2, 3)),
    (REMADE_FROM, REMADE, 0.5, (1, 2)),
    (IDLE_FROM, IDLE, 0.5, (1, 2)),
)
"""From which seed on, of what, in how many stories, and how many moves of it."""
WEIGHTS = {
    "approve": 9,
    "await-plan": 4,
    "await-step": 3,
    "ack": 2,
    "heal": 2,
    "resume": 2,
    "power-on": 2,
    "power-off": 2,
    "crash": 2,
}
ALWAYS = ("approve", "await-plan")


def drawn(seed: int) -> Story:
    """The story of a seed. Each is of some kinds of moves only, so that rare ones come together."""
    rng = random.Random(seed)
    planes = rng.choice((1, 1, 3, 3, 3, 5))
    workers = rng.choice((1, 2, 2, 3, 4))
    who = Names(tuple(f"cp{i}" for i in range(1, planes + 1)), tuple(f"w{i}" for i in range(1, workers + 1)))
    chosen = {
        **_some(rng, FAULTS, rng.randint(1, 6)),
        **_some(rng, PEOPLE, rng.randint(0, 5)),
        **_some(rng, TROUBLE, rng.randint(0, 5)),
        **{k: {**PEOPLE, **TROUBLE}[k] for k in ALWAYS if rng.random() < 0.85},
    }
    words = sorted(chosen)
    weights = [WEIGHTS.get(w, 2 if w in FAULTS else 1) for w in words]
    moves = []
    for _ in range(rng.randint(2, 14)):
        what = rng.choices(words, weights)[0]
        moves.append(Move(what, chosen[what](rng, who), rng.choice(WAITS)))
    points, eager = rng.random() < 0.7, rng.random() < 0.15
    if seed >= LATER_FROM:
        for what in sorted(LATER):
            for _ in range(rng.choice((0, 0, 1, 1, 2))):
                moves.insert(rng.randint(0, len(moves)), Move(what, LATER[what](rng, who), rng.choice(WAITS)))
    if seed >= FULL_FROM and rng.random() < 0.2:
        moves.insert(rng.randint(0, len(moves)), Move("fill-etcd", FULL["fill-etcd"](rng, who), rng.choice(WAITS)))
    if seed >= CURABLE_FROM and rng.random() < 0.5:
        for what in _some(rng, CURABLE, rng.randint(1, 3)):
            moves.insert(rng.randint(0, len(moves)), Move(what, CURABLE[what](rng, who), rng.choice(WAITS)))
    for first, kinds, share, counts in LATEST:
        if seed >= first and rng.random() < share:
            for what in rng.choices(sorted(kinds), k=rng.choice(counts)):
                moves.insert(rng.randint(0, len(moves)), Move(what, kinds[what](rng, who), rng.choice(WAITS)))
    story = Story(seed, planes, workers, points, eager, tuple(moves))
    return _with_etcd_apart(rng, story, who) if seed >= APART_FROM and rng.random() < 0.5 else story


def _with_etcd_apart(rng: random.Random, story: Story, who: Names) -> Story:
    """The same story of a cluster whose etcd is on machines of its own, and what happens to these."""
    count = rng.choice((1, 3, 3, 3))
    etcds = Names(tuple(f"etcd{i}" for i in range(1, count + 1)), ())
    moves = [m for m in story.moves if m.what not in STACKED and "etcd" not in m.args]
    moves = [replace(m, args=APART[m.what](rng, etcds)) if m.what in OF_ETCD else m for m in moves]
    for what in rng.choices(sorted(APART), k=rng.choice((1, 2, 3, 5))):
        moves.insert(rng.randint(0, len(moves)), Move(what, APART[what](rng, etcds), rng.choice(WAITS)))
    for what in rng.choices(sorted(SIGNED), k=rng.choice((0, 0, 1))):
        moves.insert(rng.randint(0, len(moves)), Move(what, SIGNED[what](rng, who), rng.choice(WAITS)))
    return replace(story, moves=tuple(moves), external=count)


def _some(rng: random.Random, kinds: dict[str, Draw], count: int) -> dict[str, Draw]:
    return {k: kinds[k] for k in rng.sample(sorted(kinds), count)}
