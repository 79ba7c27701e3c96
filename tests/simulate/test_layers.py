from __future__ import annotations

import subprocess
import sys


def test_the_model_needs_no_ssh_and_no_kubernetes_client() -> None:
    """A drill must run where neither is of use: nothing of the model reaches for them."""
    script = (
        "import sys, importlib, pkgutil, recoverd.simulate as s\n"
        "[importlib.import_module(f'recoverd.simulate.{m.name}') for m in pkgutil.iter_modules(s.__path__)]\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'asyncssh', 'kubernetes', 'cryptography'}))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
