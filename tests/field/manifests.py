"""How the container of a static pod is written, as YAML below `containers:`; each is given its name, its flags and its
image.
"""

from __future__ import annotations


def as_kubeadm(name: str, flags: tuple[str, ...], image: str) -> str:
    lines = "".join(f"    - {flag}\n" for flag in (name, *flags))
    return f"  - command:\n{lines}    image: {image}\n    name: {name}\n"


def edited(name: str, flags: tuple[str, ...], image: str) -> str:
    """With a container beside it that has flags of its own, and notes of whoever edited it."""
    own = ("/plugin", "--secure-port=1", "--listen-client-urls=https://127.0.0.1:1")
    noted = tuple(f'"{flag}" # as agreed' for flag in flags)
    return as_kubeadm("beside", own, "registry.example/beside:1") + as_kubeadm(name, noted, image)


def as_args(name: str, flags: tuple[str, ...], image: str) -> str:
    words = ", ".join(f"'{word}'" for flag in flags for word in flag.split("=", 1))
    return f"  - {{name: {name}, image: '{image}', command: [{name}], args: [{words}]}}\n"


CONTAINERS = {"kubeadm": as_kubeadm, "edited": edited, "args": as_args}
