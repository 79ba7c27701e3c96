"""Tests on real kubeadm clusters; `tests/lab/lab` makes them, `scripts/lab-test` and `scripts/lab-all` run them."""
