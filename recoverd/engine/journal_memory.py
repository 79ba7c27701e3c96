"""What is remembered of each cluster, in the journal's file: a row for each part, of which those are written that have
changed, and the rest in the cluster's own row. A file of before them has all of it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recoverd.engine.journal_file import VERSION, JournalFile
from recoverd.model.memory import Memory
from recoverd.model.memory_parts import INDEX, REST, Written, digest

PLACE = "memory"
"""What a row of it is called where it cannot be read; its key is the cluster, or CLUSTER/PART."""


class MemoryRows:
    """Those of one file. What is written is so within a transaction of it; `forget` where one was rolled back."""

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self._written: dict[str, Written] = {}
        """By cluster."""

    def forget(self) -> None:
        """Ask the file itself what it holds, the next time."""
        self._written.clear()

    def write(self, cluster: str, memory: Memory) -> None:
        """Write what the file does not hold of the memory."""
        written = self._of(cluster)
        changes = written.changes(memory)
        for part, text in changes.puts.items():
            self._put(cluster, part, text)
        for part in changes.gone:
            self._file.db.execute("DELETE FROM memory_part WHERE cluster=? AND part=?", (cluster, part))
        written.adopt(changes)

    def write_part(self, cluster: str, part: str, text: str) -> None:
        """Write one part as another journal has it; of an index, delete all that it does not name."""
        if part == INDEX:
            self._file.db.execute(
                "DELETE FROM memory_part WHERE cluster=? AND part NOT LIKE 'lines/%' "
                "AND part NOT IN (SELECT value FROM json_each(?))",
                (cluster, text),
            )
            self._written.pop(cluster, None)
            return
        self._put(cluster, part, text)
        if cluster in self._written:
            self._written[cluster].heard(part, text)

    def _of(self, cluster: str) -> Written:
        if cluster not in self._written:
            sql = "SELECT memory FROM cluster WHERE name=? AND memory IS NOT NULL"
            found = dict(self.parts(cluster))
            for (rest,) in self._file.rows(sql, cluster):
                found[REST] = rest
            self._written[cluster] = Written({part: digest(text) for part, text in found.items()})
        return self._written[cluster]

    def parts(self, cluster: str) -> Mapping[str, str]:
        """All parts but the rest, as texts."""
        return dict(self._file.rows("SELECT part, text FROM memory_part WHERE cluster=? ORDER BY rowid", cluster))

    def _put(self, cluster: str, part: str, text: str) -> None:
        run = self._file.db.execute
        if part == REST:
            run(
                "INSERT INTO cluster (name, memory) VALUES (?,?) ON CONFLICT (name) DO UPDATE "
                "SET memory=excluded.memory",
                (cluster, text),
            )
        else:
            run(
                "INSERT INTO memory_part VALUES (?,?,?) ON CONFLICT (cluster, part) DO UPDATE SET text=excluded.text",
                (cluster, part, text),
            )
        if run("PRAGMA user_version").fetchone()[0] < VERSION:
            # a recoverd that knows no parts would take the rest for everything
            run(f"PRAGMA user_version={VERSION}")


def parts_of(cluster: str, unreadable: Iterable[tuple[str, str]]) -> list[str]:
    """The parts of the cluster's memory that are among what cannot be read, by place and key."""
    return [key.partition("/")[2] for place, key in unreadable if place == PLACE and key.startswith(f"{cluster}/")]
