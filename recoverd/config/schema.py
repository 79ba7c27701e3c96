"""The shape of the file, as pydantic models: types, units, ranges, and no key that is not known."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from recoverd.config import windows
from recoverd.config.types import jump_parts
from recoverd.model.news import Topic
from recoverd.model.node_operations import PodChoice
from recoverd.model.settings import Approval, Mode

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
HOST_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*")


def _duration(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 5s, 30m or 1h")
    if isinstance(value, (int, float)):
        return float(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is no duration; write 500ms, 5s, 30m, 1h or a number of seconds")
    return float(match[1]) * UNITS[match[2]]


def _at_work(value: Any) -> str | float:
    if value in ("ask", "ignore"):
        return str(value)
    try:
        idle = _duration(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not possible here; write ask, ignore, or the idle time after which a terminal counts for "
            "nobody, such as 15m"
        ) from None
    if not idle >= 60:  # neither is what is no number
        raise ValueError(f"{value!r} is too little: nobody types all the time; 1m at least, or ignore")
    return idle


def _label(value: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is no name: lower-case letters, digits and hyphens, 63 at most (RFC 1123)")
    return value


def _node_name(value: str) -> str:
    if len(value) > 253 or not all(LABEL.fullmatch(part) for part in value.split(".")):
        raise ValueError(f"{value!r} is no node name: lower-case letters, digits, hyphens and dots (RFC 1123)")
    return value


def _address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        # all digits and dots is a mistyped IP address, not a name
        if not HOST_NAME.fullmatch(value) or re.fullmatch(r"[\d.]+", value):
            raise ValueError(f"{value!r} is neither an IP address nor a host name") from None
    return value


def _jump(value: str) -> str:
    try:
        _, host, _ = jump_parts(value)
    except ValueError:
        raise ValueError(f"{value!r} is no [USER@]HOST[:PORT]; one machine to go through, no list") from None
    _address(host)
    return value


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is no HOST:PORT")
    _address(host.strip("[]"))
    return value


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    try:
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{value!r} is no https://HOST:PORT")
    return value.rstrip("/")


def _store(value: Any) -> Any:
    if isinstance(value, dict) and value.get("etcd") is None:
        raise ValueError("says nothing; write sqlite, or etcd: with its endpoints below it")
    if isinstance(value, str) and value != "sqlite":
        raise ValueError(f"{value!r} is no store; write sqlite, or etcd: with its endpoints below it")
    return {} if value == "sqlite" else value


def _share(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"(\d{1,2}|100)%", value.strip()):
        return value.strip()
    raise ValueError(f"{value!r} is neither a number of workers nor a share of them; write 2 or 50%")


def _size(value: Any) -> int:
    match = (
        re.fullmatch(r"(\d+)\s*(KiB|MiB|GiB|TiB)?", str(value).strip())
        if isinstance(value, (int, str)) and not isinstance(value, bool)
        else None
    )
    if not match:
        raise ValueError(f"{value!r} is no size; write 500MiB, 2GiB or a number of bytes")
    return int(match[1]) * SIZES[match[2]]


def _window(value: str) -> str:
    windows.parse(value)
    return value


def _as(*shapes: dict[str, Any]) -> WithJsonSchema:
    """How it is written in the file, which the type that comes of it does not say."""
    return WithJsonSchema({"anyOf": list(shapes)})


DURATION = r"^\s*\d+(\.\d+)?(ms|s|m|h|d)\s*$"
NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
Duration = Annotated[float, BeforeValidator(_duration), _as(NUMBER, {"type": "string", "pattern": DURATION})]
AtWork = Annotated[
    str | float,
    BeforeValidator(_at_work),
    _as({"enum": ["ask", "ignore"]}, {"type": "number", "minimum": 60}, {"type": "string", "pattern": DURATION}),
]
Positive = Annotated[Duration, Field(gt=0)]
Size = Annotated[
    int, BeforeValidator(_size), _as(NUMBER, {"type": "string", "pattern": r"^\s*\d+\s*(KiB|MiB|GiB|TiB)?\s*$"})
]
Share = Annotated[
    int | str, BeforeValidator(_share), _as(NUMBER, {"type": "string", "pattern": r"^\s*(\d{1,2}|100)%\s*$"})
]
Label = Annotated[str, AfterValidator(_label)]
NodeName = Annotated[str, AfterValidator(_node_name)]
Address = Annotated[str, AfterValidator(_address)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostModel(Strict):
    name: NodeName
    address: Address


class SshModel(Strict):
    user: str = "root"
    key: str
    known_hosts: str
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    sudo: bool = False
    jump: Annotated[str, AfterValidator(_jump)] | None = None
    connect_timeout: Positive = 3.0


class BoundsModel(Strict):
    attempts: Annotated[int, Field(ge=1)] = 3
    window: Positive = 3600.0
    cooldown: Annotated[Duration, Field(ge=0)] = 3600.0
    nodes_at_once: Annotated[int, Field(ge=1)] = 1
    min_ready: Share = "50%"
    plan_expiry: Annotated[Duration, Field(ge=10)] = 1800.0
    plan_deadline: Annotated[Duration, Field(ge=10)] = 900.0
    step_deadline: Positive = 300.0
    confirm_sweeps: Annotated[int, Field(ge=1, le=100)] = 2
    recover_sweeps: Annotated[int, Field(ge=1, le=100)] = 2
    member_down_after: Annotated[Duration, Field(ge=0)] = 60.0
    force_after: Annotated[Duration, Field(ge=0)] = 300.0
    max_clock_skew: Positive = 5.0
    person_at_work: AtWork = "ask"


class DeadlinesModel(Strict):
    api: Positive = 3.0
    etcd: Positive = 3.0
    hosts: Positive = 4.0
    network: Positive = 6.0


class DrainModel(Strict):
    local_storage: PodChoice = PodChoice.REFUSE
    unmanaged: PodChoice = PodChoice.REFUSE
    timeout: Annotated[Duration, Field(ge=10)] = 180.0


class PointsModel(Strict):
    interval: Annotated[Duration, Field(ge=0)] = 7200.0
    before_plans: bool = True
    keep: Annotated[int, Field(ge=1)] = 12
    keep_age: Positive = 7 * 86400.0
    min_free: Size = 1 << 30
    timeout: Annotated[Duration, Field(ge=10)] = 600.0
    directory: str = "restore-points"
    programs: str = ""
    keys_on_bastion: bool = False
    hook: Annotated[str, Field(pattern=r"^(/.*)?$")] = ""


class MaintenanceModel(Strict):
    windows: list[Annotated[str, AfterValidator(_window)]] = []
    certificates_before: Annotated[Duration, Field(ge=0)] = 14 * 86400.0


class CanaryModel(Strict):
    namespace: Label = "kube-system"
    every: Annotated[Duration, Field(ge=0)] = 30.0


class ClusterModel(Strict):
    name: Label
    kubeconfig: str
    ssh: SshModel
    control_planes: Annotated[list[HostModel], Field(min_length=1)]
    workers: list[HostModel] = []
    interval: Annotated[Duration, Field(ge=1)] = 5.0
    workers_every: Annotated[Duration, Field(ge=0, le=300)] = 30.0
    mode: Mode = Mode.ACT
    approval: dict[str, Approval] = {}
    bounds: BoundsModel = BoundsModel()
    drain: DrainModel = DrainModel()
    restore_points: PointsModel = PointsModel()
    deadlines: DeadlinesModel = DeadlinesModel()
    maintenance: MaintenanceModel = MaintenanceModel()
    canary: CanaryModel = CanaryModel()


class DefaultsModel(Strict):
    """What every cluster has unless it says otherwise; each part is merged key by key, and checked once merged."""

    interval: Any = None
    workers_every: Any = None
    mode: Any = None
    approval: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    drain: dict[str, Any] = {}
    restore_points: dict[str, Any] = {}
    deadlines: dict[str, Any] = {}
    maintenance: dict[str, Any] = {}
    canary: dict[str, Any] = {}
    ssh: dict[str, Any] = {}


class NotificationModel(Strict):
    name: Label
    kind: Literal["apprise", "alertmanager"] = "apprise"
    url_file: str
    on: Annotated[list[Topic], Field(min_length=1)] = list(Topic)
    clusters: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _on(cls, raw: Any) -> Any:
        """YAML 1.1 reads the word `on` as true."""
        return {"on" if key is True else key: value for key, value in raw.items()} if isinstance(raw, dict) else raw


class HeartbeatModel(Strict):
    url_file: str
    every: Annotated[Duration, Field(ge=10)] = 300.0


class AccessModel(Strict):
    view: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    approve: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    destructive_needs: Annotated[int, Field(ge=1, le=2)] = 1
    emergency: bool = False


class EtcdStoreModel(Strict):
    endpoints: Annotated[list[Annotated[str, AfterValidator(_endpoint)]], Field(min_length=1)]
    ca: str = ""
    cert: str = ""
    key: str = ""
    prefix: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]*[A-Za-z0-9._-]$")] = "/recoverd"
    bastion: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = ""
    ttl: Annotated[Duration, Field(ge=3, le=60)] = 8.0


class StoreModel(Strict):
    etcd: EtcdStoreModel | None = None


class FleetModel(Strict):
    acting_at_once: Annotated[int, Field(ge=1)] = 3
    same_fault_clusters: Annotated[int, Field(ge=2)] = 3
    same_fault_share: Annotated[str, Field(pattern=r"^(\d{1,2}|100)%$")] = "33%"
    same_fault_within: Positive = 300.0


class FileModel(Strict):
    state_dir: str = "/var/lib/recoverd"
    store: Annotated[StoreModel, BeforeValidator(_store)] = StoreModel()
    socket: str = "/run/recoverd/control.sock"
    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9770"
    status_page: bool = True
    notifications: list[NotificationModel] = []
    heartbeat: HeartbeatModel | None = None
    access: AccessModel | None = None
    fleet: FleetModel = FleetModel()
    defaults: DefaultsModel = DefaultsModel()
    clusters: Annotated[list[dict[str, Any]], Field(min_length=1)]
