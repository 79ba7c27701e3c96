"""Telling people from the bastion itself, past everything that runs in the cluster that is broken."""
