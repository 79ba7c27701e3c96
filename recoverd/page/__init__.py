"""What a browser is shown at `listen`: the status page, and the same as JSON. Nothing can be changed through it."""
