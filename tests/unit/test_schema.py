"""`recoverd schema`: what an editor checks the file by says the same as the file's own check, as far as shapes go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator, ValidationError

from recoverd.cli.daemon import main
from recoverd.config.schema import ClusterModel

SCHEMA: dict[str, Any] = json.loads(CliRunner().invoke(main, ["schema"]).output)
EXAMPLE = Path(__file__).parents[2] / "config" / "recoverd.yaml"
SSH = {"key": "k", "known_hosts": "h"}
CLUSTER = {
    "name": "prod",
    "kubeconfig": "k.yaml",
    "ssh": SSH,
    "control_planes": [{"name": "cp1", "address": "10.99.1.11"}],
}


def checked(**parts: Any) -> None:
    Draft202012Validator(SCHEMA).validate({"clusters": [CLUSTER]} | parts)


def test_it_is_a_schema_that_the_example_keeps() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(EXAMPLE.read_text()))


def test_what_the_defaults_say_need_not_be_said_again() -> None:
    without = {k: v for k, v in CLUSTER.items() if k != "ssh"}
    checked(
        clusters=[without],
        defaults={"ssh": {"user": "r", **SSH}, "interval": "5s", "bounds": {"window": "1h", "min_ready": "50%"}},
    )
    checked(clusters=[CLUSTER | {"ssh": {"user": "me"}}], defaults={"ssh": SSH})


@pytest.mark.parametrize(
    "part",
    [
        {"defaults": {"bounds": {"windows": "1h"}}},
        {"defaults": {"bounds": {"window": "1 hour"}}},
        {"defaults": {"restore_points": {"min_free": "1GB"}}},
        {"defaults": {"approval": {"restore-manifest": "sometimes"}}},
        {"clusters": []},
        {"clusters": [CLUSTER | {"intervall": "5s"}]},
        {"clusters": [{k: v for k, v in CLUSTER.items() if k != "kubeconfig"}]},
        {"fleet": {"acting_at_once": 0}},
        {"fleet": {"same_fault_share": "a third"}},
        {"stat_dir": "/var/lib/recoverd"},
    ],
    ids=json.dumps,
)
def test_a_mistake_of_shape_is_seen(part: dict[str, Any]) -> None:
    checked()
    with pytest.raises(ValidationError):
        checked(**part)


def test_every_part_of_a_cluster_is_in_it() -> None:
    assert set(SCHEMA["$defs"]["ClusterModel"]["properties"]) == set(ClusterModel.model_fields)
