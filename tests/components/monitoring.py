"""Prometheus and Alertmanager as processes on loopback, from their Debian packages: fixtures to be imported by name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import end, free_port, wait_for_port

Start = Callable[[Mapping[str, Any]], str]
"""Given its configuration, it starts one and gives the base URL of its own pages."""


def _starting(directory: Path, program: str, storage: str, *arguments: str) -> Iterator[Start]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian package {program})")
    started: list[subprocess.Popen[bytes]] = []

    def start(config: Mapping[str, Any]) -> str:
        file, log, port = directory / f"{program}.yml", directory / f"{program}.log", free_port()
        file.write_text(yaml.safe_dump(dict(config)))
        given = [f"--config.file={file}", f"{storage}={directory / f'{program}.data'}", *arguments]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [program, *given, f"--web.listen-address=127.0.0.1:{port}"], stdout=out, stderr=out
            )
        started.append(process)
        wait_for_port(port, process, log)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        end(process)


@pytest.fixture
def start_prometheus(tmp_path: Path) -> Iterator[Start]:
    yield from _starting(tmp_path, "prometheus", "--storage.tsdb.path")


@pytest.fixture
def start_alertmanager(tmp_path: Path) -> Iterator[Start]:
    yield from _starting(tmp_path, "prometheus-alertmanager", "--storage.path", "--cluster.listen-address=")
