"""Who is told what, and when: compares what is so of each cluster with what was told, and
gives each receiver what is new.

It stands beside the loops. They hand it what an event came to, which costs them no wait; what is sent, is sent
by tasks and threads of its own.

**After a restart.** That somebody was told is a line of the journal (`notified`), written when the message has
 been taken. A new process reads
these lines first, and tells nothing before a sweep has ended: what stands and was told is not told again, what
stands and was not is told once (recoverd was killed before it got through, or nobody could be reached). Of what
only happened in the time of another process, the end of an incident is told where it is not older than a message
may be; a failed plan is not, since what follows from it stands. A message that was taken in the moment in which
recoverd was killed may come twice.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from recoverd.config.receivers import HEARTBEAT
from recoverd.config.types import Config, Heartbeat, Receiver
from recoverd.control.protocol import Delivery
from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.machine import ClusterMachine
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.model.events import Instruction, Note, Refused
from recoverd.model.fleet import CommonCause
from recoverd.model.history import History
from recoverd.model.news import News, Topic
from recoverd.model.plan import Incident, TimelineEntry
from recoverd.model.record import Record
from recoverd.model.text import meant
from recoverd.notifications import news as words
from recoverd.notifications import wire
from recoverd.notifications.alarm import Alarm
from recoverd.notifications.heart import Heart
from recoverd.notifications.outbox import PATIENCE, Outbox
from recoverd.notifications.trial import tried
from recoverd.notifications.wire import Courier

log = structlog.get_logger()

REMEMBERED = 5000
"""Lines of who was told what that are kept in mind."""
FAILED_FOR = timedelta(minutes=15)
"""So long a failed plan is an alert, as in config/alerts, if its incident does not end before, and it is news that a
person went alone.
"""
ALWAYS = frozenset({Topic.FAILED, Topic.EMERGENCY})
"""What is told of a cluster by itself, whatever others have in common with it."""
Heard = tuple[str, str, str]
"""Receiver, cluster, and the key of the news."""


class Notifier:
    """All receivers of the configuration. `healthy` says why recoverd itself is not well, or None."""

    def __init__(
        self,
        writer: JournalWriter,
        metrics: NotificationMetrics,
        publish: Callable[[Note], None],
        healthy: Callable[[], str | None],
    ) -> None:
        self._writer = writer
        self._metrics = metrics
        self._publish = publish
        self._bastion = socket.gethostname()
        self._heard: OrderedDict[Heard, datetime] = OrderedDict()
        """What was told, or is about to be, and when."""
        self._standing: dict[str, dict[str, News]] = {}
        """By cluster and key."""
        self._failed: dict[str, tuple[News, ...]] = {}
        self._closed: dict[str, list[Incident]] = {}
        """Incidents that were closed shortly before the start, until their cluster is looked at."""
        self._quiet: set[str] = set()
        """Clusters whose fault many have together."""
        self._common: frozenset[str] = frozenset()
        """Codes of such faults."""
        self._clusters: frozenset[str] = frozenset()
        self._outboxes: dict[str, Outbox] = {}
        self._alarms: dict[str, Alarm] = {}
        self._heart = Heart(metrics, healthy)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self, config: Config) -> None:
        """Read what was told before, and take up the receivers. Raises `JournalError`."""
        for note in reversed(await self._writer.read(lambda j: j.notes(event=History.NOTIFIED, limit=REMEMBERED))):
            receiver, _, key = note.entry.detail.partition(": ")
            self._heard[receiver, note.cluster, key] = note.entry.at
        oldest = datetime.now(UTC) - timedelta(seconds=PATIENCE)

        def closed(journal: Journal) -> list[Incident]:
            return journal.incidents(closed_since=oldest)

        for incident in await self._writer.read(closed):
            self._closed.setdefault(incident.cluster, []).append(incident)
        self.take(config)

    async def learn(self, cluster: str) -> None:
        """Who was told what of a cluster that another bastion has watched so far. Raises `JournalError`."""
        for heard in [h for h in self._heard if h[1] == cluster]:
            del self._heard[heard]
        told = await self._writer.read(lambda j: j.notes(cluster=cluster, event=History.NOTIFIED, limit=500))
        for note in reversed(told):
            receiver, _, key = note.entry.detail.partition(": ")
            self._remember((receiver, cluster, key), note.entry.at)

    def take(self, config: Config) -> None:
        """Tell whom the configuration names now. What waits for a receiver that stays, waits on."""
        self._clusters = frozenset(c.settings.name for c in config.clusters)
        home = f"http://{_reachable(config.listen[0])}:{config.listen[1]}/"
        wanted = {r.name: r for r in config.notifications}
        for name in list(self._tasks):
            if name != HEARTBEAT and (
                name not in wanted or (wanted[name].kind == "apprise") is not (name in self._outboxes)
            ):
                self._tasks.pop(name).cancel()
                self._outboxes.pop(name, None)
                self._alarms.pop(name, None)
        for name, receiver in wanted.items():
            kept: Outbox | Alarm | None = self._outboxes.get(name) or self._alarms.get(name)
            if kept:
                kept.receiver = receiver
            else:
                worker: Outbox | Alarm = (
                    self._outbox(receiver) if receiver.kind == "apprise" else self._alarm(receiver, home)
                )
                self._tasks[name] = asyncio.create_task(_for_ever(worker.run, name), name=f"notifications for {name}")
        self._beat(config.heartbeat)
        self._metrics.expect([*wanted, *([HEARTBEAT] if config.heartbeat else [])])
        for cluster in set(self._standing) - self._clusters - {""}:
            self.forget(cluster)
        self._sound()

    def forget(self, cluster: str) -> None:
        """The cluster is watched no more: nothing of it is so any longer."""
        self._standing.pop(cluster, None)
        self._failed.pop(cluster, None)
        for alarm in self._alarms.values():
            alarm.set(cluster, ())

    def nobody_acts(self, why: str) -> None:
        """This bastion only looks at the clusters, and why; "": it acts again."""
        stood, now = self._of_no_cluster(Topic.NOBODY_ACTS), datetime.now(UTC)
        if bool(stood) == bool(why):
            return
        found = [words.nobody_acts(why, now, self._bastion)] if why else [words.acts_again(n, now) for n in stood]
        self._tell_of_no_cluster(Topic.NOBODY_ACTS, found, now)

    def common_causes(self, causes: Sequence[CommonCause], here: bool) -> None:
        """Somebody is called for faults that began in many clusters together, and these stand now; of several bastions
        one tells it, once for all clusters: whether that is done `here`.
        """
        self._common = frozenset(cause.code for cause in causes)
        stood, now = self._of_no_cluster(Topic.COMMON_CAUSE), datetime.now(UTC)
        found = [words.common_cause(cause, self._bastion) for cause in causes if here]
        if {news.key for news in found} != {news.key for news in stood}:
            stand = {words.common_cause(cause, self._bastion).key for cause in causes}
            over = [words.no_common_cause(news, now) for news in stood if news.key not in stand]
            self._tell_of_no_cluster(Topic.COMMON_CAUSE, [*found, *over], now)

    def _of_no_cluster(self, topic: Topic) -> list[News]:
        return [news for news in self._standing.get("", {}).values() if news.topic is topic]

    def _tell_of_no_cluster(self, topic: Topic, found: Sequence[News], now: datetime) -> None:
        others = [news for news in self._standing.get("", {}).values() if news.topic is not topic]
        self._standing[""] = {news.key: news for news in (*others, *(n for n in found if not n.over))}
        for outbox in self._outboxes.values():
            self._give(outbox, found, now)
        self._sound("")

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def heed(self, machine: ClusterMachine, instructions: Sequence[Instruction]) -> None:
        """Take in what an event came to. Never waits and never raises: telling is in nobody's way."""
        if not self._tasks or machine.settings.name not in self._clusters:
            return
        try:
            self._heed(machine, instructions)
        except Exception:
            log.exception("what is to be told of a cluster could not be made out", cluster=machine.settings.name)

    async def test(self, receiver: str | None) -> list[Delivery]:
        """Send something to everybody, or to one, now. Raises `Refused` where there is no such receiver."""
        named: dict[str, Receiver | Heartbeat] = {n: o.receiver for n, o in self._outboxes.items()}
        named |= {n: a.receiver for n, a in self._alarms.items()}
        if self._heart.config:
            named[HEARTBEAT] = self._heart.config
        if named and receiver is not None and receiver not in named:
            raise Refused(
                f"there is no receiver {receiver}; {meant(receiver, named)} (`notifications` in the configuration)",
                missing=True,
            )
        return await tried({n: r for n, r in named.items() if receiver in (None, n)}, self._bastion)

    # --- what is new ---

    def _heed(self, machine: ClusterMachine, instructions: Sequence[Instruction]) -> None:
        name, record, status, now = machine.settings.name, machine.record, machine.status(), datetime.now(UTC)
        if status.last_sweep is None:
            # after a start, or where the cluster's configuration has changed: what was so stands until it is seen anew
            return
        moments = [*words.happened(instructions, record, self._bastion, now), *self._before(name, record)]
        if status.never_healthy:  # whoever had it done is told, and nobody is called
            moments = [replace(n, labels={}) for n in moments]
        lasting = (n for n in moments if n.topic in (Topic.FAILED, Topic.EMERGENCY))
        failed = (*self._failed.get(name, ()), *lasting)
        open_incident = record.incident.id if record.incident else ""
        self._failed[name] = tuple(n for n in failed if n.incident == open_incident and now - n.since < FAILED_FOR)
        standing = words.standing(status, record, self._bastion)
        self._standing[name] = {n.key: n for n in (*standing, *self._failed[name])}
        shared = record.above is not None and record.above.code in self._common
        self._quiet |= {name} if shared else set()
        for outbox in self._outboxes.values():
            if name in outbox.receiver.clusters:
                dark = self._dark_for(outbox.receiver.name, name)
                back = (
                    [words.seen_again(status, record, dark, now)]
                    if dark and f"{Topic.UNOBSERVABLE} {dark}" not in self._standing[name]
                    else []
                )
                told = [*standing, *moments, *back]
                self._give(outbox, told if self._each(outbox, name) else [n for n in told if n.topic in ALWAYS], now)
        self._quiet -= set() if shared else {name}  # and before that the end of its incident
        self._sound(name)

    def _each(self, outbox: Outbox, cluster: str) -> bool:
        """Whether the receiver is told of the cluster by itself, and not of what many have together."""
        return cluster not in self._quiet or Topic.COMMON_CAUSE not in outbox.receiver.on

    def _before(self, cluster: str, record: Record) -> list[News]:
        closed = self._closed.pop(cluster, [])
        return [words.recovered(i, words.helpful(i, record), self._bastion) for i in reversed(closed)]

    def _dark_for(self, receiver: str, cluster: str) -> str:
        """The subject of the newest message that the cluster cannot be seen."""
        mark = f"{Topic.UNOBSERVABLE} "
        return max(
            (
                key.removeprefix(mark)
                for who, of, key in self._heard
                if (who, of) == (receiver, cluster) and key.startswith(mark)
            ),
            default="",
        )

    def _give(self, outbox: Outbox, found: Iterable[News], now: datetime) -> None:
        receiver = outbox.receiver
        fresh = [n for n in found if n.topic in receiver.on and self._is_new(receiver.name, n, now)]
        asks = {n.incident for n in fresh if n.topic in (Topic.WAITING, Topic.ESCALATED)}
        confirmed = {n.incident for n in fresh if n.topic is Topic.CONFIRMED}
        for news in fresh:
            self._remember((receiver.name, news.cluster, news.key), now)
            # the call for a person says what is broken too
            if news.topic is Topic.CONFIRMED and (news.incident in asks or self._called(receiver.name, news)):
                continue
            if news.topic is Topic.SHADOW and news.incident in confirmed:
                continue  # that message says it too
            if dropped := outbox.put(news):
                self._later(receiver.name, dropped)

    def _is_new(self, receiver: str, news: News, now: datetime) -> bool:
        heard = (receiver, news.cluster, news.key)
        at = self._heard.get(heard)
        if at is None:
            return True
        self._heard.move_to_end(heard)
        return news.again is not None and (now - at).total_seconds() >= news.again

    def _called(self, receiver: str, news: News) -> bool:
        """Whether a person was called for the incident."""
        mine = (key.partition(" ") for who, cluster, key in self._heard if (who, cluster) == (receiver, news.cluster))
        return any(
            topic in (Topic.WAITING, Topic.ESCALATED) and subject.partition(".")[0] == news.incident
            for topic, _, subject in mine
        )

    def _remember(self, heard: Heard, at: datetime) -> None:
        self._heard[heard] = at
        self._heard.move_to_end(heard)
        while len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)

    def _stands(self, news: News) -> bool:
        """Whether a piece of news that was not sent yet is still so."""
        standing = self._standing.get(news.cluster, {})
        if news.over:
            return not (
                news.topic is Topic.UNOBSERVABLE and any(n.topic is Topic.UNOBSERVABLE for n in standing.values())
            )
        return news.key in standing

    def _sound(self, cluster: str | None = None) -> None:
        for alarm in self._alarms.values():
            for name in self._standing if cluster is None else [cluster]:
                told = not name or name in alarm.receiver.clusters
                of = self._standing.get(name, {}).values() if told else ()
                alarm.set(name, [n for n in of if n.topic in alarm.receiver.on])

    # --- what became of it ---

    async def _ended(self, receiver: str, news: News, outcome: str, why: str) -> None:
        heard = (receiver, news.cluster, news.key)
        if outcome == "sent":
            await self._write(news, History.NOTIFIED, f"{receiver}: {news.key}")
        elif outcome == "overtaken":
            self._heard.pop(heard, None)  # it is news again, should it come again
        else:
            log.error(
                f"{receiver} was not told, for {PATIENCE:g} s: {news.title} ({why})",
                event_name="not-notified",
                receiver=receiver,
                cluster=news.cluster,
            )
            await self._write(news, History.NOT_NOTIFIED, f"{receiver}: {news.key} ({why})")
            self._later(receiver, news)

    def _later(self, receiver: str, news: News) -> None:
        """What nobody could be told, and still stands after as long as it was tried, is news once more."""
        asyncio.get_running_loop().call_later(PATIENCE, self._heard.pop, (receiver, news.cluster, news.key), None)

    async def _write(self, news: News, event: History, detail: str) -> None:
        if not news.cluster:
            return  # there is nothing to journal it in
        note = Note(news.cluster, news.incident, TimelineEntry(datetime.now(UTC), event, detail))
        try:
            await self._writer.write([note])
        except JournalError as error:
            log.error(
                "who was told could not be journalled; after a restart it may be told again",
                cluster=news.cluster,
                error=str(error),
            )
        self._publish(note)

    # --- workers ---

    def _outbox(self, receiver: Receiver) -> Outbox:
        courier, name = Courier(receiver.name), receiver.name

        async def send(news: News) -> None:
            now = made.receiver
            await courier.run(lambda: wire.by_apprise(now, news.title, news.body))

        async def ended(news: News, outcome: str, why: str) -> None:
            await self._ended(name, news, outcome, why)

        made = self._outboxes[name] = Outbox(receiver, self._metrics, send=send, stands=self._stands, ended=ended)
        return made

    def _alarm(self, receiver: Receiver, home: str) -> Alarm:
        courier = Courier(receiver.name)

        async def post(alerts: Sequence[Mapping[str, object]]) -> None:
            now = made.receiver
            await courier.run(lambda: wire.to_alertmanager(now, alerts))

        made = self._alarms[receiver.name] = Alarm(receiver, self._metrics, home, post)
        return made

    def _beat(self, config: Heartbeat | None) -> None:
        self._heart.config = config
        running = self._tasks.get(HEARTBEAT)
        if config and running is None:
            self._tasks[HEARTBEAT] = asyncio.create_task(_for_ever(self._heart.run, HEARTBEAT), name="sign of life")
        elif config is None and running:
            self._tasks.pop(HEARTBEAT).cancel()


async def _for_ever(run: Callable[[], Awaitable[None]], name: str) -> None:
    """A worker, begun anew after a defect: that ends neither the watch nor what others are told."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("telling broke recoverd's own part for it; it is begun anew", receiver=name)
            await asyncio.sleep(10)


def _reachable(host: str) -> str:
    """The host of a link for people: the machine's name where recoverd listens on loopback or everywhere."""
    name = socket.gethostname() if host in ("127.0.0.1", "::1", "0.0.0.0", "::", "localhost") else host  # noqa: S104
    return f"[{name}]" if ":" in name else name
