"""From the file to a checked `Config`: every error, each with its path in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from recoverd.config import access, doubts, kubeconfigs, sandbox, store, windows
from recoverd.config.files import check_key, check_known_hosts, check_kubeconfig, resolve
from recoverd.config.lines import Lines
from recoverd.config.mending import validated
from recoverd.config.mistakes import MISSING, said
from recoverd.config.receivers import told
from recoverd.config.schema import ClusterModel, DefaultsModel, FileModel
from recoverd.config.twice import named_twice
from recoverd.config.types import ClusterConfig, Config, ConfigError, Deadlines, Problem, SshSettings, jump_parts
from recoverd.model.points import PointSettings
from recoverd.model.settings import (
    STALE_INTERVALS,
    Bounds,
    CanarySettings,
    ClusterSettings,
    DrainSettings,
    FleetBounds,
    HostSettings,
    MaintenanceSettings,
    PersonsNeeded,
)
from recoverd.model.text import meant

MERGED = ("approval", "bounds", "drain", "restore_points", "deadlines", "maintenance", "canary", "ssh")
"""Parts of a cluster that are merged with the defaults key by key."""
WHOLE = ("interval", "workers_every", "mode")
"""Those that are one value."""
UNREAD = {
    FileNotFoundError: "; recoverd init writes one, and recoverd example-config prints one with every key there is",
    PermissionError: "; ask as root, or as the user whose it is",
}
"""What to do about a file that cannot be read."""
M = TypeVar("M", bound=BaseModel)


def load(path: Path, known_playbooks: Collection[str] | None = None) -> Config:
    """Read and check the file at `path`. `known_playbooks` are the names that `approval` may hold (None: any).

    Raises `ConfigError` with every error. Files that the configuration points to are opened, hosts are not contacted.
    """
    warnings: list[Problem] = []
    raw, lines = _parse(path)
    found: list[Problem] = []
    file = _validated(FileModel, raw, "", found)
    wrong = {at for at, _ in found}
    listed = raw.get("clusters") if isinstance(raw, dict) else None
    entries = listed if isinstance(listed, list) else []
    models = _models(entries, file.defaults if file else DefaultsModel(), found, wrong)
    errors: list[Problem] = []
    errors += named_twice(models)
    here = path.parent.absolute()
    asked = file.access if file else None
    if not any(at.startswith("access.") for at in wrong):  # one key of it says nothing without the others
        errors += access.problems(asked)
    warnings += access.doubts(asked)
    persons = access.persons(asked)
    clusters = [_cluster(where, model, here, known_playbooks, errors, warnings, persons) for where, model in models]
    # those too that are wrong elsewhere: that they are not known is no mistake of who names them
    names = [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]
    receivers, heartbeat = told(file, here, names, errors) if file else ((), None)
    state_dir = resolve(file.state_dir if file else ".", here)
    kept = store.kept(file.store, here, errors, warnings) if file else None
    errors += _folders(state_dir, resolve(file.socket if file else ".", here), models)
    errors = [*found, *lines.twice, *(e for e in errors if not _is_told(e[0], wrong))]
    if errors or file is None:
        raise ConfigError(path, list(dict.fromkeys(errors)), {at: lines.located(at) for at, _ in errors})
    listen = _listen_at(file.listen, warnings)
    config = Config(
        state_dir,
        resolve(file.socket, here),
        listen,
        tuple(clusters),
        tuple(warnings),
        receivers,
        heartbeat,
        file.status_page,
        {at: lines.located(at) for at, _ in warnings},
        access.access(asked),
        FleetBounds(**file.fleet.model_dump()),
        kept,
    )
    more = tuple(sandbox.doubts(path, config))
    lines_of = {**config.lines, **{at: lines.located(at) for at, _ in more}}
    return replace(config, warnings=(*config.warnings, *more), lines=lines_of)


def _models(
    entries: list[Any], defaults: DefaultsModel, errors: list[Problem], wrong: set[str]
) -> list[tuple[str, ClusterModel]]:
    """Every cluster with its place, as far as it can be used; where something is wrong goes to `wrong`, too."""
    models = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        where, own = f"clusters[{index}]", list[Problem]()
        model = _validated(ClusterModel, _merged(entry, defaults), where, own)
        for path, what in own:
            # what it would have from defaults that are wrong themselves is not missing
            if what != MISSING or not _is_told(path.replace(where, "defaults", 1), wrong):
                errors.append((_origin(path, where, entry, defaults), what))
        wrong |= {path for path, _ in own}
        if model:
            models.append((where, model))
    return models


def _listen_at(text: str, warnings: list[Problem]) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if doubt := doubts.of_listen(host.strip("[]")):
        warnings.append(("listen", doubt))
    return host.strip("[]"), int(port)


def _is_told(path: str, told: Collection[str]) -> bool:
    """Whether something was said of the place, or of one above it, where only a stand-in is."""
    return any(path == of or path.startswith((f"{of}.", f"{of}[")) for of in told)


def _folders(state_dir: Path, socket: Path, models: Iterable[tuple[str, ClusterModel]]) -> Iterable[Problem]:
    """Where no file can be kept, and no socket be made."""
    if problem := doubts.no_socket(socket):
        yield "socket", problem
    if problem := doubts.no_folder(state_dir):
        yield "state_dir", problem
        return
    for where, model in models:
        if problem := doubts.no_folder(state_dir / model.restore_points.directory):
            yield f"{where}.restore_points.directory", problem


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML finds wrong; some of it makes no sense without what it has met before."""
    problem = str(error.problem)
    if problem.startswith("but "):
        return f"{error.context}, {problem}"
    return f"{problem}; YAML is indented with blanks, and never with tabs" if r"'\t'" in problem else problem


def _parse(path: Path) -> tuple[Any, Lines]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(path, [("", f"cannot be read: {error.strerror}{UNREAD.get(type(error), '')}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [("", f"is not UTF-8: {error}")]) from error
    try:
        return yaml.safe_load(text) or {}, Lines(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        column = f"column {mark.column + 1}: " if mark else ""
        line = {"": mark.line + 1} if mark else {}
        raise ConfigError(path, [("", f"{column}{_problem(error)}")], line) from error
    except yaml.reader.ReaderError as error:
        what = f"the character U+{ord(text[error.position]):04X} may not stand in YAML; take it out"
        raise ConfigError(path, [("", what)], {"": text.count("\n", 0, error.position) + 1}) from error
    except RecursionError as error:
        raise ConfigError(path, [("", "is nested too deeply to be read")]) from error
    except yaml.YAMLError as error:
        raise ConfigError(path, [("", str(error))]) from error


def _validated(model: type[M], raw: Any, where: str, errors: list[Problem]) -> M | None:
    def wrong(error: ErrorDetails) -> None:
        unknown = error["type"] == "extra_forbidden"
        what = f"unknown key{_did_you_mean(model, error['loc'])}" if unknown else said(error)
        errors.append((_path(where, error["loc"]), what))

    return validated(model, raw, wrong)


def _did_you_mean(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """The key that was meant, as far as the neighbours tell."""
    fields: Iterable[str] = model.model_fields
    for part in loc[:-1]:
        inner = model.model_fields[part].annotation if isinstance(part, str) and part in model.model_fields else None
        for kind in (inner, *get_args(inner)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model, fields = kind, kind.model_fields
    return "; " + meant(str(loc[-1]), fields, "known are ")


def _path(where: str, loc: tuple[int | str, ...]) -> str:
    text = where
    for part in loc:
        if part != "[key]":  # pydantic's word for a key that is no text
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _merged(entry: dict[Any, Any], defaults: DefaultsModel) -> dict[Any, Any]:
    merged = dict(entry)
    for part in WHOLE:
        if (below := getattr(defaults, part)) is not None:
            merged.setdefault(part, below)
    for part in MERGED:
        given, below = entry.get(part, {}), getattr(defaults, part)
        if isinstance(given, dict) and (given or below):
            merged[part] = {**below, **given}
    return merged


def _origin(path: str, where: str, entry: dict[Any, Any], defaults: DefaultsModel) -> str:
    """The place of an error: in the cluster's own part, or in the defaults when it got the value from there."""
    rest = path.removeprefix(f"{where}.")
    part, _, key = rest.partition(".")
    key = key.partition(".")[0]
    if part in WHOLE:
        inherited = getattr(defaults, part) is not None and part not in entry
    else:
        given, below = entry.get(part) or {}, getattr(defaults, part, {}) if part in MERGED else {}
        inherited = key in below and isinstance(given, dict) and key not in given
    return f"defaults.{rest}" if inherited else path


def _files(
    where: str,
    model: ClusterModel,
    ssh: SshSettings,
    kubeconfig: Path,
    errors: list[Problem],
    warnings: list[Problem],
) -> None:
    """What is wrong with the files that a cluster names, and what is doubtful."""
    hosts = [HostSettings(h.name, h.address) for h in (*model.control_planes, *model.workers)]
    if problem := check_key(ssh.key):
        errors.append((f"{where}.ssh.key", problem))
    problem, missing = check_known_hosts(ssh.known_hosts, ssh.port, hosts)
    if problem:
        errors.append((f"{where}.ssh.known_hosts", problem))
    if ssh.jump and not problem:
        _, host, port = jump_parts(ssh.jump)
        missing = [*check_known_hosts(ssh.known_hosts, port, [HostSettings("the jump host", host)])[1], *missing]
    warnings += [(f"{where}.ssh.known_hosts", text) for text in missing]
    problem, entries = check_kubeconfig(kubeconfig)
    if problem:
        errors.append((f"{where}.kubeconfig", problem))
    elif entries:
        warnings += [(f"{where}.kubeconfig", text) for text in kubeconfigs.doubts(kubeconfig, entries)]
        if text := doubts.of_server(entries.server, model.control_planes):
            warnings.append((f"{where}.kubeconfig", text))


def _cluster(
    where: str,
    model: ClusterModel,
    here: Path,
    playbooks: Collection[str] | None,
    errors: list[Problem],
    warnings: list[Problem],
    persons: PersonsNeeded,
) -> ClusterConfig:
    hosts = [HostSettings(h.name, h.address) for h in (*model.control_planes, *model.workers)]
    key, known_hosts, kubeconfig = (resolve(p, here) for p in (model.ssh.key, model.ssh.known_hosts, model.kubeconfig))
    ssh = SshSettings(
        model.ssh.user, key, known_hosts, model.ssh.port, model.ssh.sudo, model.ssh.jump, model.ssh.connect_timeout
    )
    _files(where, model, ssh, kubeconfig, errors, warnings)
    warnings += doubts.of_cluster(where, model)
    for name in model.approval if playbooks is not None else ():
        if name not in (playbooks or ()):
            errors.append(
                (f"{where}.approval.{name}", "unknown playbook; " + meant(name, playbooks or (), "known are "))
            )
    bounds, deadlines = Bounds(**model.bounds.model_dump()), Deadlines(**model.deadlines.model_dump())
    settings = ClusterSettings(
        name=model.name,
        control_planes=tuple(hosts[: len(model.control_planes)]),
        workers=tuple(hosts[len(model.control_planes) :]),
        bounds=bounds,
        approval=model.approval,
        drain=DrainSettings(**model.drain.model_dump()),
        points=PointSettings(**model.restore_points.model_dump()),
        maintenance=MaintenanceSettings(
            tuple(windows.parse(w) for w in model.maintenance.windows), model.maintenance.certificates_before
        ),
        canary=CanarySettings(**model.canary.model_dump()),
        mode=model.mode,
        persons=persons,
        stale_after=STALE_INTERVALS * model.interval
        + deadlines.api
        + deadlines.etcd
        + deadlines.hosts
        + deadlines.network,
    )
    return ClusterConfig(settings, model.interval, kubeconfig, ssh, deadlines, model.workers_every)
