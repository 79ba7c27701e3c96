"""The configuration: one YAML file, checked whole before anything is done with it."""

from recoverd.config.jsonschema import json_schema
from recoverd.config.load import load
from recoverd.config.twice import have_in_common
from recoverd.config.types import ClusterConfig, Config, ConfigError, Deadlines, SshSettings

__all__ = [
    "ClusterConfig",
    "Config",
    "ConfigError",
    "Deadlines",
    "SshSettings",
    "have_in_common",
    "json_schema",
    "load",
]
