"""The pods of a large cluster are followed between two lists, as a real kube-apiserver tells of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.client import ApiClient
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.observe import podfeed
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.podfeed import KEPT, LONGEST, PodFeed
from tests.components.apiserver import ApiServer
from tests.components.test_pieces import node, pod
from tests.components.test_rbac import COLLECTIONS, RBAC

PODS = "/api/v1/namespaces/default/pods"
COUNT = 5


class Asked:
    """What was asked of the API server for pods; the watches of it, by their answers."""

    def __init__(self) -> None:
        self.lists, self.watches = 0, list[Any]()
        self._request = podfeed.request

    async def request(self, client: ApiClient, path: str, *, query: Mapping[str, str], accept: str) -> Any:
        self.lists += "watch" not in query
        answer = await self._request(client, path, query=query, accept=accept)
        if "watch" in query:
            self.watches.append(answer)
        return answer


class Feed:
    """A feed of pods by a clock of its own."""

    def __init__(self, client: ApiClient, asked: Asked) -> None:
        self.client, self.asked, self.now = client, asked, 0.0
        self.of = PodFeed(lambda: self.now, large=COUNT)

    async def names(self, *, followed: bool = True, client: ApiClient | None = None) -> set[str]:
        return {p.name for p in await self.of.pods(client or self.client, followed=followed)}

    async def until(self, *wanted: int) -> None:
        async def once() -> None:
            assert await self.names() == {f"default/p{n}" for n in wanted}

        await _retried(once)

    async def stands(self, stands: bool = True) -> None:
        async def once() -> None:
            assert self.of._stands is stands

        await _retried(once)


async def _retried(once: Any) -> None:
    errors = retry_if_exception_type(AssertionError)
    await AsyncRetrying(retry=errors, wait=wait_fixed(0.05), stop=stop_after_delay(20), reraise=True)(once)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(podfeed, "request", made.request)
    return made


async def _client(file: Path) -> ApiClient:
    access = await read_access(file)
    return api_client(access, access.server)


@pytest.fixture
async def feed(api: ApiServer, tmp_path: Path, asked: Asked) -> AsyncIterator[Feed]:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", admin=True, body=account) in (201, 409)
    assert await api.ask("POST", "/api/v1/nodes", admin=True, body=node(0)) in (201, 409)
    for number in range(COUNT):
        assert await api.ask("POST", PODS, admin=True, body=pod(number)) == 201
    file = tmp_path / "admin"
    file.write_text(api.admin_kubeconfig())
    file.chmod(0o600)
    client = await _client(file)
    made = Feed(client, asked)
    yield made
    await made.of.close()
    await client.close()  # type: ignore[no-untyped-call]


async def test_what_is_made_changed_and_deleted_is_followed_without_another_list(api: ApiServer, feed: Feed) -> None:
    await feed.until(*range(COUNT))
    await feed.stands()
    assert feed.asked.lists == 1
    assert await api.ask("POST", PODS, admin=True, body=pod(7)) == 201
    status = {**pod(1), "status": {"phase": "Running", "podIP": "10.1.2.3"}}
    assert await api.ask("PUT", f"{PODS}/p1/status", admin=True, body=status) == 200
    assert await api.ask("DELETE", f"{PODS}/p2", admin=True, body={"gracePeriodSeconds": 0}) == 200
    await feed.until(0, 1, 3, 4, 7)
    followed = {p.name: p for p in await feed.of.pods(feed.client, followed=True)}
    assert (followed["default/p1"].status, followed["default/p1"].ip) == ("Running", "10.1.2.3")
    assert feed.asked.lists == 1 and len(feed.asked.watches) == 1
    listed = {p.name: p for p in await feed.of.pods(feed.client, followed=False)}
    assert listed == followed and feed.asked.lists == 2


async def test_a_watch_is_believed_for_as_long_as_it_has_something_to_say_and_not_for_ever(
    api: ApiServer, feed: Feed
) -> None:
    await feed.until(*range(COUNT))
    await feed.stands()
    feed.now = KEPT - 0.1
    assert await api.ask("POST", PODS, admin=True, body=pod(7)) == 201
    await feed.until(*range(COUNT), 7)
    feed.now = 2 * KEPT - 0.2
    await feed.names()
    assert feed.asked.lists == 1
    feed.now = 2 * KEPT
    await feed.names()
    assert feed.asked.lists == 2
    await feed.stands()
    more = [7]
    while feed.asked.lists == 2:
        feed.now += KEPT - 1
        more.append(more[-1] + 1)
        assert await api.ask("POST", PODS, admin=True, body=pod(more[-1])) == 201
        await feed.until(*range(COUNT), *more)
    assert 2 * KEPT + LONGEST < feed.now < 3 * KEPT + LONGEST


@pytest.mark.parametrize("why", ["not asked for", "too old", "another API server", "the watch was cut"])
async def test_all_are_listed_wherever_what_was_followed_does_not_serve(feed: Feed, tmp_path: Path, why: str) -> None:
    await feed.names()
    await feed.stands()
    await feed.names()
    assert feed.asked.lists == 1
    other = None
    if why == "too old":
        feed.now = KEPT + 0.1
    elif why == "another API server":
        other = await _client(tmp_path / "admin")
    elif why == "the watch was cut":
        feed.asked.watches[0].close()
        await feed.stands(False)
    await feed.names(followed=why != "not asked for", client=other)
    assert feed.asked.lists == 2
    if why == "not asked for":
        assert not feed.of._stands, "what a whole list was asked for beside is over"
    if other:
        await feed.of.close()
        await other.close()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("shipped", [True, False])
async def test_a_user_who_may_list_and_not_watch_lists(
    api: ApiServer, feed: Feed, tmp_path: Path, shipped: bool
) -> None:
    """As with a config/rbac.yaml of before."""
    for document in yaml.safe_load_all(RBAC.read_text()):
        rules = [r for r in document.get("rules", ()) if shipped or "watch" not in r["verbs"]]
        body = {**document, "rules": rules} if rules else document
        assert await api.ask("POST", COLLECTIONS[document["kind"]], admin=True, body=body) == 201
    client = await _client(api.kubeconfig(tmp_path / "user"))

    async def permitted() -> None:
        try:
            assert await feed.names(client=client)
        except Exception as error:
            raise AssertionError(str(error)) from error

    try:
        await _retried(permitted)

        async def answered() -> None:
            assert [w.status for w in feed.asked.watches] == [200 if shipped else 403]

        await _retried(answered)
        lists = feed.asked.lists
        assert len(await feed.names(client=client)) == COUNT == len(await feed.names(client=client))
        assert feed.asked.lists == lists + (0 if shipped else 2)
        assert len(feed.asked.watches) == 1, "and it is not asked for again soon"
    finally:
        await feed.of.close()
        await client.close()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}',
        b'{"type":"MODIFIED","object":{"kind":"Pod","metadata":{}}}',
        b"{",
    ],
)
async def test_what_is_not_understood_ends_it(feed: Feed, line: bytes) -> None:
    await feed.names()
    with pytest.raises(ValueError):
        feed.of._book.take(line)
