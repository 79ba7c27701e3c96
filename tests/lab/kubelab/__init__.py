"""Real kubeadm clusters on one machine; README.md beside this package says how and why."""
