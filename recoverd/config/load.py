"""From the file to a checked `Config`: every error, each with its path in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from recoverd.config import access, doubts, kubeconfigs, store, windows
from recoverd.config.files import check_key, check_known_hosts, check_kubeconfig, resolve
from recoverd.config.lines import Lines
from recoverd.config.mistakes import said
from recoverd.config.receivers import told
from recoverd.config.schema import ClusterModel, DefaultsModel, FileModel
from recoverd.config.types import ClusterConfig, Config, ConfigError, Deadlines, Problem, SshSettings, jump_parts, meant
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

MERGED = ("approval", "bounds", "drain", "restore_points", "deadlines", "maintenance", "canary", "ssh")
"""Parts of a cluster that are merged with the defaults key by key."""
WHOLE = ("interval", "workers_every", "mode")
"""Those that are one value."""


def load(path: Path, known_playbooks: Collection[str] | None = None) -> Config:
    """Read and check the file at `path`. `known_playbooks` are the names that `approval` may hold (None: any).

    Raises `ConfigError` with every error. Files that the configuration points to are opened, hosts are not contacted.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    raw, lines = _parse(path)
    file = _validated(FileModel, raw, "", errors)
    defaults = file.defaults if file else _defaults_of(raw)
    listed = raw.get("clusters") if isinstance(raw, dict) else None
    models: list[tuple[str, ClusterModel]] = []
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(entry, dict):
            where = f"clusters[{index}]"
            own: list[Problem] = []
            model = _validated(ClusterModel, _merged(entry, defaults), where, own)
            errors += [(_origin(path, where, entry, defaults), what) for path, what in own]
            if model:
                models.append((where, model))
    errors += _duplicates(models)
    here = path.parent.absolute()
    asked = file.access if file else None
    errors += access.problems(asked)
    warnings += access.doubts(asked)
    persons = access.persons(asked)
    clusters = [_cluster(where, model, here, known_playbooks, errors, warnings, persons) for where, model in models]
    # those too that are wrong elsewhere: that they are not known is no mistake of who names them
    names = (
        [str(entry["name"]) for entry in listed or () if isinstance(entry, dict) and "name" in entry]
        if isinstance(listed, list)
        else []
    )
    receivers, heartbeat = told(file, here, names, errors) if file else ((), None)
    state_dir = resolve(file.state_dir if file else ".", here)
    kept = store.kept(file.store, here, errors, warnings) if file else None
    errors += _folders(state_dir, models)
    if errors or file is None:
        raise ConfigError(path, list(dict.fromkeys(errors)), {at: lines.located(at) for at, _ in errors})
    listen = _listen_at(file.listen, warnings)
    return Config(
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


def _listen_at(text: str, warnings: list[Problem]) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if doubt := doubts.of_listen(host.strip("[]")):
        warnings.append(("listen", doubt))
    return host.strip("[]"), int(port)


def _folders(state_dir: Path, models: Iterable[tuple[str, ClusterModel]]) -> Iterable[Problem]:
    """Where no file can be kept."""
    if problem := doubts.no_folder(state_dir):
        yield "state_dir", problem
        return
    for where, model in models:
        if problem := doubts.no_folder(state_dir / model.restore_points.directory):
            yield f"{where}.restore_points.directory", problem


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep=deep)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What PyYAML finds wrong; some of it makes no sense without what it has met before."""
    problem = str(error.problem)
    if problem.startswith("but "):
        return f"{error.context}, {problem}"
    return f"{problem}; YAML is indented with blanks, and never with tabs" if r"'\t'" in problem else problem


def _parse(path: Path) -> tuple[Any, Lines]:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, Loader=_UniqueKeys) or {}, Lines(text)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise ConfigError(path, [("", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, [("", f"is not UTF-8: {error}")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(path, [("", f"{place}{_problem(error)}")]) from error
    except RecursionError as error:
        raise ConfigError(path, [("", "is nested too deeply to be read")]) from error
    except yaml.YAMLError as error:
        raise ConfigError(path, [("", str(error))]) from error


def _validated(model: type[BaseModel], raw: Any, where: str, errors: list[Problem]) -> Any:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for e in error.errors():
            loc = _path(where, e["loc"])
            if e["type"] == "extra_forbidden":
                errors.append((loc, f"unknown key{_did_you_mean(model, e['loc'])}"))
            else:
                errors.append((loc, said(e)))
        return None


def _defaults_of(raw: Any) -> DefaultsModel:
    """The defaults of a file that is wrong elsewhere, so that what they give is not called missing as well."""
    try:
        return DefaultsModel.model_validate(raw["defaults"])
    except (ValidationError, KeyError, TypeError):
        return DefaultsModel()


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


def _duplicates(models: list[tuple[str, ClusterModel]]) -> Iterable[Problem]:
    names: dict[str, str] = {}
    planes: dict[str, str] = {}
    for where, model in models:
        if model.name in names:
            yield f"{where}.name", f"{model.name!r} is the name of {names[model.name]} already"
        names.setdefault(model.name, where)
        own: dict[tuple[str, str], str] = {}
        for role in ("control_planes", "workers"):
            for index, host in enumerate(getattr(model, role)):
                here = f"{where}.{role}[{index}]"
                for what in ("name", "address"):
                    value = getattr(host, what)
                    if (what, value) in own:
                        yield f"{here}.{what}", f"{value!r} is the {what} of {own[what, value]} already"
                    own.setdefault((what, value), here)
                if role == "control_planes":
                    if host.address in planes and not planes[host.address].startswith(f"{where}."):
                        yield (
                            f"{here}.address",
                            f"{host.address!r} is a control plane of another cluster already ({planes[host.address]})",
                        )
                    planes.setdefault(host.address, here)


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
