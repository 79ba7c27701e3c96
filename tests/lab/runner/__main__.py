"""Run lab tests: `python -m tests.lab.runner [--all] [--count N] [NAME ...] [-- PYTEST_OPTION ...]`.

Exit codes: 0 all passed; 1 something failed, with --all also what is flaky; 2 usage; 130 and 143 after a signal.

CI runs the core. There what fails once and passes on a new cluster does not fail the run, since CI judges a change,
and a change is not what a flaky test is about; it is told in the last lines, with its archive. --all judges the
project, and there it is a failure.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tests.lab.kubelab.build import build
from tests.lab.kubelab.host import LabError, require, say
from tests.lab.runner import claims, evidence, results

PROJECT = Path(__file__).parents[3]
TABLE = PROJECT / "docs/lab-results.md"
FAILED, USAGE, NOTHING = 1, 4, 5
"""pytest's exit codes: tests failed, it was told something it does not know, no tests were selected."""
CORE_CLUSTERS, ALL_CLUSTERS = 3, 2
"""Observed on two cores: the core's clusters are short and small; with everything, three at once were seven control
planes, the load was 70, and tests failed since recoverd was late itself.
"""
SECOND = 3
"""So many failures are tried once more; more of them are no accident."""


def arguments() -> argparse.Namespace:
    words = sys.argv[1:]
    own, rest = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(
        prog="lab-test", description="Tests on real kubeadm clusters. What comes after -- is pytest's."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="tests or modules; without any, the core, or with --all everything"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="everything, with the results in docs/lab-results.md; what is flaky has failed",
    )
    parser.add_argument("--record", action="store_true", help="write docs/lab-results.md without --all, too")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="each test N times; none is tried again")
    parser.add_argument(
        "--clusters", type=int, metavar="N", help=f"clusters side by side ({CORE_CLUSTERS}, with --all {ALL_CLUSTERS})"
    )
    options = parser.parse_args(own)
    options.clusters = options.clusters or (ALL_CLUSTERS if options.all else CORE_CLUSTERS)
    options.pytest = rest
    return options


class Pytest:
    """One run of pytest with its workers, in a process group of its own, so that all of it
    can be ended and nothing else.
    """

    def __init__(self, options: Sequence[str], clusters: int, run: str, attempt: int, lines: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "tests/lab",
            "-v",
            "-p",
            "no:cacheprovider",
            "--lines",
            str(lines),
            *options,
        ]
        command += ["-n", str(clusters), "--dist", "loadscope", "--no-loadscope-reorder", "--max-worker-restart", "0"]
        environment = {**os.environ, "LAB_RUN": run, "LAB_ATTEMPT": str(attempt), "PYTHONPATH": str(PROJECT)}
        self.process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self) -> int:
        return self.process.wait()

    def end(self) -> None:
        """SIGINT, so that it tells what it has; then SIGKILL for all that is left of the group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main() -> int:
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    if options.names and (wrong := unknown(options.names)):
        print(f"lab-test: {wrong}", file=sys.stderr)
        return 2
    try:
        require()
        if left := claims.take_down(None):
            say(f"took down what an earlier run has left: clusters {', '.join(map(str, left))}")
        build()
    except LabError as error:
        print(f"lab-test: {error}", file=sys.stderr)
        return 1
    evidence.prune()
    with tempfile.TemporaryDirectory(prefix="recoverd-lab-run-") as made:
        return _run(options, run, Path(made))


def unknown(names: Sequence[str]) -> str:
    """What is wrong with the names of tests; "" when there is a test for each. Asked before any worker is: one that
    ends over it tells nobody why.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/lab",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"--only={name}" for name in names),
    ]
    asked = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    said = [line.removeprefix("ERROR: ") for line in asked.stderr.splitlines() if line.startswith("ERROR: ")]
    return (said[0] if said else asked.stderr.strip()) if asked.returncode == USAGE else ""


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _run(options: argparse.Namespace, run: str, directory: Path) -> int:
    chosen = [f"--only={name}" for name in options.names] if options.names else ([] if options.all else ["-m", "core"])
    code, first = _once(options, chosen, run, directory, 1)
    failed = [test for test in first.values() if test.failed]
    again: dict[str, results.Seen] = {}
    if code == FAILED and options.count == 1 and 0 < len(failed) <= SECOND:
        say(f"once more, on new clusters: {', '.join(test.name for test in failed)}")
        _, again = _once(options, [f"--only={test.nodeid}" for test in failed], run, directory, 2)
    rows = results.rows(first, again, results.commit(TABLE), time.strftime("%Y-%m-%d"))
    if (options.all or options.record) and rows:
        whole = options.all and not options.names and not options.pytest and code in (0, FAILED)
        results.save(TABLE, results.merge(results.load(TABLE), rows, whole=whole))
    tell(rows, [*first.values(), *again.values()])
    if code == NOTHING:
        print("lab-test: no lab test was selected")
        return 0
    return verdict(code, rows, strict=options.all)


def verdict(code: int, rows: dict[str, results.Row], *, strict: bool) -> int:
    """The exit code of the whole, of pytest's own of the first try."""
    if code not in (0, FAILED):
        return code
    good = {"passed", "skipped"} | (set() if strict else {"flaky"})
    return 0 if rows and all(row.outcome in good or results.every_turn(row.outcome) for row in rows.values()) else 1


def _once(
    options: argparse.Namespace, chosen: Sequence[str], run: str, directory: Path, attempt: int
) -> tuple[int, dict[str, results.Seen]]:
    """pytest's exit code and what it saw. Nothing of it is left running, however it ends."""
    lines = directory / f"{attempt}.jsonl"
    lines.touch()
    pytest = Pytest([*chosen, f"--count={options.count}", *options.pytest], options.clusters, run, attempt, lines)
    try:
        code = pytest.wait()
    finally:
        pytest.end()
        claims.take_down(run)
    return code, results.read(lines.read_text().splitlines())


def tell(rows: dict[str, results.Row], tests: Sequence[results.Seen]) -> None:
    """The last words: what passed only at the second time, what failed, and where the evidence of each is."""
    bad = {name: row.outcome for name, row in rows.items() if row.outcome not in ("passed", "skipped")}
    print(f"\n== lab: {len(rows) - len(bad)} of {len(rows)} tests passed or skipped")
    for name, outcome in sorted(bad.items()):
        print(f"== {outcome}: {name}")
        for test in tests:
            if test.evidence and results.without_turn(test.name) == name:
                print(f"==    evidence: {test.evidence}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
