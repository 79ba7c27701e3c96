"""The JSON schema of the file, for editors: it says of what shape it is; what has to hold across it, `check-config` says. Pure."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from recoverd.config.schema import ClusterModel, DefaultsModel, FileModel

OF_A_CLUSTER = ("interval", "approval", "bounds", "drain", "restore_points", "deadlines", "maintenance", "ssh")
"""What `defaults` may hold, and a cluster need not say then."""


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of `recoverd.yaml`. Of what `defaults` may give nothing is required in a cluster."""
    _, whole = models_json_schema([(FileModel, "validation"), (ClusterModel, "validation")], title="recoverd.yaml")
    shapes = whole["$defs"]
    cluster, defaults = shapes["ClusterModel"], shapes["DefaultsModel"]
    cluster["required"] = [name for name in cluster["required"] if name not in OF_A_CLUSTER]
    for name in OF_A_CLUSTER:
        part = cluster["properties"][name]
        defaults["properties"][name] = {k: v for k, v in part.items() if k != "default"}
        if "$ref" in part:
            shapes[part["$ref"].rpartition("/")[2]].pop("required", None)
    assert set(defaults["properties"]) == set(DefaultsModel.model_fields), "each part of the defaults is one of a cluster"
    file = shapes["FileModel"]
    file["properties"]["clusters"]["items"] = {"$ref": "#/$defs/ClusterModel"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, **shapes.pop("FileModel")}
