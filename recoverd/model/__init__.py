"""The vocabulary of recoverd: observations, memory, findings, incidents and plans. Frozen data, no I/O."""
