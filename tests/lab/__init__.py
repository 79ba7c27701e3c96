"""Tests on real kubeadm clusters; `tests/lab/lab` makes them."""

import os

import pytest

LONG = os.environ.get("LAB_LONG") == "1"
"""Whether everything runs, for hours; without, the suite is to end within an hour on two cores."""
long_only = pytest.mark.skipif(not LONG, reason="the suite is to end within an hour: LAB_LONG=1 runs this too")
