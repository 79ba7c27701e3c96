"""What is read of the longer lists of the API, for `msgspec` to decode: most of each object is passed over and not
made. What is made are plain dictionaries, with the names and the nulls that were sent.
"""

from __future__ import annotations

from typing import Any, Generic, TypedDict, TypeVar

import msgspec

Labels = dict[str, Any] | None


T = TypeVar("T")


class ListOf(TypedDict, Generic[T], total=False):
    """Of what is asked for."""

    items: list[T] | None


class Meta(TypedDict, total=False):
    name: str
    namespace: str
    uid: str
    labels: Labels
    annotations: Labels
    creationTimestamp: str | None
    deletionTimestamp: str | None
    ownerReferences: list[dict[str, Any]] | None


class Port(TypedDict, total=False):
    name: str | None
    port: int | None
    protocol: str


class ServiceSpec(TypedDict, total=False):
    clusterIP: str | None
    clusterIPs: list[str] | None
    type: str
    internalTrafficPolicy: str
    topologyKeys: Any
    trafficDistribution: Any
    ports: list[Port] | None


class Service(TypedDict, total=False):
    metadata: Meta
    spec: ServiceSpec | None


SERVICES = msgspec.json.Decoder(ListOf[Service])


class Target(TypedDict, total=False):
    kind: str
    namespace: str
    name: str
    uid: str | None


class Conditions(TypedDict, total=False):
    ready: bool | None
    terminating: bool | None


class SliceEndpoint(TypedDict, total=False):
    addresses: list[str] | None
    conditions: Conditions | None
    nodeName: str | None
    topology: Labels
    deprecatedTopology: Labels
    targetRef: Target | None


class Address(TypedDict, total=False):
    ip: str
    nodeName: str | None
    targetRef: Target | None


class Subset(TypedDict, total=False):
    ports: list[Port] | None
    addresses: list[Address] | None
    notReadyAddresses: list[Address] | None


class Slice(TypedDict, total=False):
    metadata: Meta
    addressType: str
    endpoints: list[SliceEndpoint] | None
    ports: list[Port] | None
    subsets: list[Subset] | None


ENDPOINTS = msgspec.json.Decoder(ListOf[Slice])
"""EndpointSlices, and Endpoints: which of both an item is, is told by what it has."""


class PodCondition(TypedDict, total=False):
    type: str
    status: str
    lastTransitionTime: str | None


class Container(TypedDict, total=False):
    name: str
    image: str | None


class PodSpec(TypedDict, total=False):
    nodeName: str | None
    initContainers: list[Container] | None
    containers: list[Container] | None


class Waiting(TypedDict, total=False):
    reason: str | None
    message: str | None


class ContainerState(TypedDict, total=False):
    waiting: Waiting | None


class ContainerStatus(TypedDict, total=False):
    name: str
    image: str | None
    state: ContainerState | None


class PodStatus(TypedDict, total=False):
    phase: str
    podIP: str | None
    conditions: list[PodCondition] | None
    initContainerStatuses: list[ContainerStatus] | None
    containerStatuses: list[ContainerStatus] | None


class Pod(TypedDict, total=False):
    metadata: Meta
    spec: PodSpec | None
    status: PodStatus | None


PODS = msgspec.json.Decoder(ListOf[Pod])
