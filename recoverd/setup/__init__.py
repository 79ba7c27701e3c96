"""From a kubeconfig to a configuration that can be watched: what `recoverd init` learns, writes and prints.

The API server is only asked, unless an option says that something is to be made in it; machines are asked for nothing
but their host keys, which are shown and never trusted unseen. What is written is written on this machine alone.
"""
