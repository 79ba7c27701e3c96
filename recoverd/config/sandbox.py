"""What the unit recoverd.service of this machine hides from the daemon, and where it lets it write: a configuration
that root finds good may name what the daemon does not see. systemd.exec(5), "Sandboxing", and systemd.unit(5) for the
places of units and of what is changed in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recoverd.config.types import Config, Problem

FOLDERS = tuple(
    map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
               "/lib/systemd/system"))
)  # fmt: skip
"""Where units are, the first that has it counts; what is changed in them is in all of them."""
UNIT = "recoverd.service"
HOMES, TEMPORARY = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")  # noqa: S108  # names, and nothing is made there
OWN = {
    "StateDirectory": "/var/lib",
    "RuntimeDirectory": "/run",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
}
NETWORKED = re.compile(r"^(nfs\d?|cifs|smb\d?|9p|ceph|glusterfs|fuse\.(sshfs|glusterfs|s3fs))$")
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`hidden`: folders of which nothing is seen, by the setting that hides them. `shown`: what is bound into them all
    the same. `writable`: None where everything is.
    """

    hidden: tuple[tuple[str, str], ...] = ()
    shown: tuple[str, ...] = ()
    writable: tuple[str, ...] | None = None

    def hides(self, path: Path) -> str:
        """Why the daemon does not see the file, with what to do; "" where it does."""
        by = next((by for folder, by in self.hidden if path.is_relative_to(folder)), "")
        if not by or any(path.is_relative_to(s) for s in self.shown):
            return ""
        return (
            f"{UNIT} does not see {path} ({by}): put it into /etc/recoverd for the user recoverd to read, or have the "
            "unit hand it over (LoadCredential=NAME:PATH by systemctl edit recoverd, $CREDENTIALS_DIRECTORY/NAME here)"
        )

    def locks(self, path: Path) -> str:
        """Why the daemon cannot write in the folder, with what to do; "" where it may."""
        if self.writable is None or any(path.is_relative_to(w) for w in self.writable):
            return ""
        return (
            f"{UNIT} may not write in {path} (ProtectSystem=strict): make it, for the user recoverd, mode 0700, and "
            f"let the unit write there: systemctl edit recoverd, [Service], ReadWritePaths={path}"
        )


def doubts(file: Path, config: Config) -> Iterator[Problem]:
    """What a configuration names that the daemon would not see, or could not write to, as this machine's unit is; that
    is nothing where the unit reads another file, or there is no unit.
    """
    if kind := over_network(config.state_dir):
        yield (
            "state_dir",
            f"{config.state_dir} is on {kind}: the journal's locks and its shared memory need a disk of this machine "
            "(sqlite.org/wal.html); restore_points.directory may be elsewhere",
        )
    settings = _settings()
    if settings is None or not any(str(file.absolute()) in start.split() for start in settings.get("ExecStart", ())):
        return
    there = _of(settings)
    for where, path in _read(config):
        if why := there.hides(path):
            yield where, why
    for where, path in _written(config):
        if why := there.hides(path) or there.locks(path):
            yield where, why


def hidden(path: Path) -> str:
    """Why the unit does not see the file, with what to do; "" where it does, or there is no unit."""
    settings = _settings()
    return _of(settings).hides(path) if settings is not None else ""


def _read(config: Config) -> Iterator[tuple[str, Path]]:
    for n, cluster in enumerate(config.clusters):
        ssh, points = cluster.ssh, cluster.settings.points
        for key, path in {
            "ssh.key": ssh.key,
            "ssh.known_hosts": ssh.known_hosts,
            "kubeconfig": cluster.kubeconfig,
        }.items():
            yield f"clusters[{n}].{key}", path
        for key, text in {"programs": points.programs, "hook": points.hook}.items():
            if text:
                yield f"clusters[{n}].restore_points.{key}", Path(text)
    for n, receiver in enumerate(config.notifications):
        yield f"notifications[{n}].url_file", receiver.url_file
    if config.heartbeat:
        yield "heartbeat.url_file", config.heartbeat.url_file
    for key in ("ca", "cert", "key") if config.store else ():
        if path := getattr(config.store, key):
            yield f"store.etcd.{key}", path


def _written(config: Config) -> Iterator[tuple[str, Path]]:
    yield "state_dir", config.state_dir
    yield "socket", config.socket.parent
    for n, cluster in enumerate(config.clusters):
        yield f"clusters[{n}].restore_points.directory", config.state_dir / cluster.settings.points.directory


def _settings() -> dict[str, list[str]] | None:
    """What the unit and what is changed in it say; an empty value takes back what was said before it."""
    unit = next((f / UNIT for f in FOLDERS if (f / UNIT).is_file()), None)
    if unit is None:
        return None
    changes: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        changes |= {p.name: p for p in (folder / f"{UNIT}.d").glob("*.conf")}
    said: dict[str, list[str]] = {}
    for file in (unit, *(changes[name] for name in sorted(changes))):
        for key, value in _lines(file):
            said[key] = [*said.get(key, ()), value] if value else []
    return said


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(errors="replace")
    except OSError:  # for root alone: nothing is known of it
        return
    for line in re.sub(r"\\\n", " ", text).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            yield key.strip(), value.strip()


def _of(said: dict[str, list[str]]) -> Sandbox:
    def last(key: str) -> str:
        return (said.get(key) or [""])[-1].lower()

    def paths(*keys: str) -> Sequence[str]:
        each = (word for key in keys for value in said.get(key, ()) for word in value.split())
        return [word.lstrip("-+").split(":")[-1 if ":" in word else 0] for word in each]

    on = ("yes", "true", "1", "on")
    hidden = [(f, f"ProtectHome={last('ProtectHome')}") for f in HOMES if last("ProtectHome") in (*on, "tmpfs")]
    hidden += [(f, "PrivateTmp=yes") for f in TEMPORARY if last("PrivateTmp") in on]
    own = [f"{below}/{name}" for key, below in OWN.items() for value in said.get(key, ()) for name in value.split()]
    writable = (*own, *paths("ReadWritePaths", "BindPaths"), *(TEMPORARY if last("PrivateTmp") in on else ()))
    return Sandbox(
        tuple(hidden),
        tuple(paths("BindPaths", "BindReadOnlyPaths")),
        writable if last("ProtectSystem") == "strict" else None,
    )


def over_network(path: Path) -> str:
    """The kind of a folder's file system, there already or to be made, where that is another machine's; else ""."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = ("", "")
    for fields in map(str.split, lines):
        point, kind = fields[4].encode().decode("unicode_escape"), fields[fields.index("-") + 1]
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = point, kind
    return found[1] if NETWORKED.match(found[1]) else ""
