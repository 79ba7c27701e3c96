"""The JSON schema of the file, for editors: it says of what shape it is; what has to hold across
it, `check-config` says. Pure.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from recoverd.config.schema import ClusterModel, DefaultsModel, FileModel


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of `recoverd.yaml`. Of what `defaults` may give nothing is required in a cluster."""
    _, whole = models_json_schema([(FileModel, "validation"), (ClusterModel, "validation")], title="recoverd.yaml")
    shapes = whole["$defs"]
    cluster, defaults = shapes["ClusterModel"], shapes["DefaultsModel"]
    cluster["required"] = [name for name in cluster["required"] if name not in DefaultsModel.model_fields]
    for name in DefaultsModel.model_fields:
        part = cluster["properties"][name]
        defaults["properties"][name] = {k: v for k, v in part.items() if k != "default"}
        if "$ref" in part:
            shapes[part["$ref"].rpartition("/")[2]].pop("required", None)
    file = shapes["FileModel"]
    file["properties"]["clusters"]["items"] = {"$ref": "#/$defs/ClusterModel"}
    file["properties"]["store"] = {"anyOf": [{"const": "sqlite"}, {"$ref": "#/$defs/StoreModel"}], "default": "sqlite"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, **shapes.pop("FileModel")}
