"""One cluster as recoverd has it at one moment, to be judged again elsewhere: what was seen, what is remembered,
where the machine stands. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from typing import Any

from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.record import Record
from recoverd.model.settings import ClusterSettings

FORMAT = 1
HIDDEN = "(hidden)"
SECRETS = (
    re.compile(r"^(( *)value:).*(?:\n\2 +.*)*", re.MULTILINE),
    re.compile(r"^(( *)- value:).*(?:\n\2   +.*)*", re.MULTILINE),
    re.compile(r"(--[\w-]*(?:token|password|secret)[\w-]*=)(?!/|\"?/)\S+"),
    re.compile(r"(\bBearer )\S+"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END)", re.DOTALL),
)
"""What may stand in a manifest or a log and is nobody else's: values of a container's environment, tokens and
passwords in flags, private keys.
"""


@dataclass(frozen=True, slots=True)
class Dump:
    recoverd: str
    """The version that made it."""
    settings: ClusterSettings
    observation: Observation
    memory: Memory
    record: Record
    format: int = FORMAT


def without_secrets(value: Any) -> Any:
    """Plain data (dicts, lists, strings, numbers) with what `SECRETS` finds in its strings hidden."""
    match value:
        case str():
            return reduce(lambda text, pattern: pattern.sub(rf"\g<1>{HIDDEN}", text), SECRETS, value)
        case dict():
            return {key: without_secrets(of) for key, of in value.items()}
        case list():
            return [without_secrets(of) for of in value]
    return value
