"""Images that are not on a node and do not come: of which pod, what the pull says, and whether kubelet itself has
deleted them. Pure.

Seen on 1.20.2: with its disk more than 85 % full kubelet deleted the image of a kube-proxy that had ended, and no
registry was there. No restart brings an image, and a reboot ends what still runs of others whose image was deleted.
"""

from __future__ import annotations

import re

from recoverd.diagnose import disks
from recoverd.diagnose.cause import IMAGE, KUBELET
from recoverd.diagnose.causes import Reason, reason
from recoverd.diagnose.causes_of_images import DELETED, OF_IMAGES
from recoverd.diagnose.scene import Scene
from recoverd.model.facts import WaitingFacts
from recoverd.model.finding import Finding
from recoverd.model.network import NetworkView, UnpulledImage
from recoverd.model.observation import HostView

NO_NAME = "(`kubectl describe` of the pod names it)"
STORES = {"docker": "/var/lib/docker", "crio": "/var/lib/containers"}
"""Where a runtime has its images, unless it is told otherwise; containerd in /var/lib/containerd."""
HIGH = 85
"""Per cent of that disk used from which on kubelet deletes images that no container uses, the longest unused first
(https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle).
"""
SET = re.compile(r"^imageGCHighThresholdPercent: *(\d+)|--image-gc-high-threshold=(\d+)", re.MULTILINE)


def of_pod(scene: Scene, name: str, pod: str) -> Reason | None:
    """Why an image of a pod, NAMESPACE/NAME, does not come to the machine of this name: by kubelet's own words, or
    else by what the API has of them. None where none is waited for.
    """
    network, host = scene.observation.network, scene.host(name)
    waits = network.unpulled.get(pod) if isinstance(network, NetworkView) else None
    if waits is None:
        return None
    told = f'{pod} waits for the image "{waits.image or NO_NAME}", {waits.reason}: {waits.said}'
    said = host.journals.get(KUBELET, ()) if host else ()
    theirs = [_named(line, waits) for line in said if pod.rpartition("/")[2] in line]
    return reason([*theirs, told], IMAGE)


def _named(line: str, waits: UnpulledImage) -> str:
    """docker's words for a pull that fails do not name the image."""
    return line if not waits.image or waits.image in line else f'the image "{waits.image}": {line}'


def is_why(found: Finding) -> bool:
    """The finding is of what an image is lacking for."""
    return isinstance(found.facts, WaitingFacts) and found.facts.cause in OF_IMAGES


def deleted(host: HostView | None, name: str, found: Reason) -> tuple[str, tuple[str, ...]]:
    """The end of a message, and its proof, where kubelet has probably deleted the image itself; "" where not."""
    disk = (
        disks.below(host, STORES.get(host.runtime, "/var/lib/containerd"))
        if host and found.cause.name in DELETED
        else None
    )
    if host is None or disk is None or disk.total <= 0:
        return "", ()
    high = _high(host)
    if 100 - int(disk.free * 100 / disk.total) < high:
        return "", ()
    text = (
        f" {disk.path} on {name} is used to more than {high} %, from where on kubelet deletes images that no container "
        "uses: probably it has deleted this one. Free room there as well, or it does so again."
    )
    return text, (disks.line(name, disk),)


def _high(host: HostView) -> int:
    """As kubelet's own configuration or flags say, where these were looked at; 100 switches it off."""
    texts = (file.content for file in host.node.files.values()) if host.node else ()
    return next((int(m[1] or m[2]) for text in texts if (m := SET.search(text))), HIGH)
