"""A dump of a cluster is judged by the code at hand as it was by that which wrote it: each of `tests/dumps` is
an operator's cluster as a test.

`REWRITE_DUMPS=1` writes what is judged now; commit that only when every line that changed is meant.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from recoverd.cli.judge import judged
from recoverd.model.codec import load, plain
from recoverd.model.dump import HIDDEN, Dump, without_secrets
from tests.unit.builders import manifest
from tests.unit.test_machine import Script
from tests.unit.test_recall import stuck

DUMPS = sorted((Path(__file__).parents[1] / "dumps").glob("*.json"))


@pytest.mark.parametrize("file", DUMPS, ids=[f.stem for f in DUMPS])
def test_a_dump_is_judged_as_it_was(file: Path) -> None:
    told, golden = judged(file.read_text()), file.with_suffix(".txt")
    if os.environ.get("REWRITE_DUMPS"):
        golden.write_text(told)
    assert told == golden.read_text()


def written() -> Dump:
    s = Script()
    s.sweep(stuck, times=2)
    assert s.machine.observation
    return Dump("0.1.0", s.machine.settings, s.machine.observation, s.machine.memory, s.machine.record)


def test_what_is_written_is_read_again_and_judged_the_same() -> None:
    dump = written()
    text = json.dumps(without_secrets(plain(dump)))
    assert load(Dump, text) == dump, "there was nothing to hide"
    told = judged(text)
    assert "etcd-stuck/awaiting-approval" in told and "fault etcd-quorum-lost" in told
    assert "remedy: force-new-cluster: make cp1" in told


def test_secrets_are_not_in_it() -> None:
    text = manifest("kube-apiserver").content + (
        "    env:\n    - name: PASSWORD\n      value: hunter2\n    - value: 0therWise\n"
        "    - value: |\n        blocked\n        twice\n      name: KEY\n"
        "    - --token-auth-file=/etc/tokens\n    - --oidc-client-secret=s3cret\n"
    )
    logs = [
        "GET / Authorization: Bearer abc.def",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ]
    hidden = json.dumps(without_secrets({"content": text, "log": logs, "n": 1}))
    for secret in ("hunter2", "0therWise", "blocked", "twice", "s3cret", "abc.def", "MIIE"):
        assert secret not in hidden
    assert "--token-auth-file=/etc/tokens" in hidden and "name: KEY" in hidden and HIDDEN in hidden


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', "[1"])
def test_what_is_no_dump_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Dump|JSON"):
        judged(text)
