"""What kubelet says of an image that is not on its node and does not come. Pure.

It tries again by itself, with a back-off of five minutes at most (https://kubernetes.io/docs/concepts/containers/images/,
"ImagePullBackOff"), so that what keeps the image away is all that has to be seen to. Asked of lines about one pod, each
with the image in it: kubelet's own, or the waiting container's reason and message as the API has them.
"""

from __future__ import annotations

from recoverd.diagnose.cause import BY_ITSELF, IMAGE, NO_IMAGE, NO_ROOM_FOR_IMAGE, row

_NAMED = r"\bimage(?: name| reference)? \\*\"([^\"\\]+)\\*\"(?!.*already present)"
_AWAY = "its image {0} is not on the node and cannot be pulled: "
BRING = (
    "or bring it: on a node that has it `ctr -n k8s.io images export image.tar {0}`, and here `ctr -n k8s.io images "
    "import image.tar` (with docker: save and load); or name an image that is there" + BY_ITSELF
)
CAUSES_OF_IMAGES = (
    row(
        "image-never-pulled",
        (IMAGE,),
        _NAMED + r".*pull policy of Never",
        "its image {0} is not on the node, and its imagePullPolicy is Never",
        "let it be pulled (IfNotPresent), " + BRING,
    ),
    row(
        "image-name-invalid",
        (IMAGE,),
        r"parse image (?:name|reference) \\*\"([^\"\\]+)",
        "{0} is no name of an image",
        "put the name right in its manifest or DaemonSet" + BY_ITSELF,
    ),
    row(
        "image-unreadable",
        (IMAGE,),
        r"[Ff]ailed to inspect image \\*\"([^\"\\]+)",
        "the container runtime cannot read its image {0}",
        "`crictl rmi {0}` there, where it can be pulled again; else see what the runtime says (`journalctl -u "
        "containerd`)",
    ),
    row(
        NO_ROOM_FOR_IMAGE,
        (IMAGE,),
        _NAMED + r".*no space left on device",
        _AWAY + "the node's disk has no room for it",
        "free room on that disk, rotated logs first" + BY_ITSELF,
    ),
    row(
        "image-rate-limited",
        (IMAGE,),
        _NAMED + r".*(?:toomanyrequests|429 Too Many|rate limit)",
        _AWAY + "the registry limits how often it is asked",
        "wait, or log in there (imagePullSecrets), or use a mirror; " + BRING,
    ),
    row(
        "image-not-allowed",
        (IMAGE,),
        _NAMED + r".*(?:[Uu]nauthorized|authentication required|no basic auth credentials|pull access denied|\bdenied: "
        r"|403 Forbidden|authorization failed)",
        _AWAY + "the registry does not give it to this node, or has no such repository",
        "see to the pull secret (is it there, and is its password over?) and the name; " + BRING,
    ),
    row(
        "image-not-in-registry",
        (IMAGE,),
        _NAMED + r".*(?:: not found\b|code = NotFound|[Mm]anifest unknown|MANIFEST_UNKNOWN|manifest for .* not found)",
        _AWAY + "the registry has none of that name and tag",
        "see whether the tag was mistyped, or deleted there; " + BRING,
    ),
    row(
        "registry-not-reached",
        (IMAGE,),
        _NAMED
        + r".*(?:no such host|server misbehaving|Temporary failure in name|proxyconnect|i/o timeout|no route to host"
        r"|connection (?:refused|reset)|network is unreachable|TLS handshake timeout|x509: |deadline exceeded"
        r"|Client\.Timeout|request canceled|\b50[0234] (?:Internal|Bad|Service|Gateway)|registry is unavailable)",
        _AWAY + "its registry is not reached, or does not serve",
        "see to DNS, the way out, and the proxy of the container runtime on the node (`systemctl show containerd -p "
        "Environment`); " + BRING,
    ),
    row(
        NO_IMAGE,
        (IMAGE,),
        r"(?:pull and unpack image|[Bb]ack-off pulling image|[Ff]ailed to pull image|waits for the image) "
        r"\\*\"([^\"\\]+)",
        "its image {0} is not on the node and cannot be pulled",
        "see what the pull says (`kubectl describe` of the pod, `crictl pull {0}` on the node: the registry, its "
        "login, a proxy), and to that; " + BRING,
        weak=True,
    ),
)
OF_IMAGES = frozenset(cause.name for cause in CAUSES_OF_IMAGES)
DELETED = OF_IMAGES - {"image-name-invalid", "image-unreadable"}
"""Those of an image that may have been there once."""
