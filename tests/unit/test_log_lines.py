"""What the log's lines are: one line an entry, whatever machines say, and with what a library has failed by."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from recoverd.daemon import logs


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    out, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr("sys.stderr", out)
    root.handlers.clear()
    logs.set_up()
    yield out
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_control_characters_are_made_visible_and_an_entry_is_one_line(lines: io.StringIO) -> None:
    """journalctl shows "[21B blob data]" in the place of a line with one."""
    structlog.get_logger().info("kubelet says: \x1b[31mno\x1b[0m\nand more", host="cp1\x07")
    (line,) = lines.getvalue().splitlines()
    assert "\x1b" not in line and "\x07" not in line
    assert r"kubelet says: \\x1b[31mno\\x1b[0m | and more" in line, "logfmt writes a backslash as two"


def test_what_a_library_has_failed_by_is_on_its_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("half a message")
    except ValueError:
        logging.getLogger("asyncssh").exception("Uncaught exception")
    (line,) = lines.getvalue().splitlines()
    assert "Uncaught exception" in line and "ValueError: half a message" in line and "level=error" in line
