"""Environments of the field, each fed to the real collectors, diagnosis and planning."""
