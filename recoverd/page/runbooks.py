"""The runbooks at `/runbooks/`, where the links of the shipped alerts lead: they need no server of their own. They name
no cluster and no machine, so they are there without the status page too.
"""

from __future__ import annotations

from aiohttp import web

from recoverd.model.text import nearest
from recoverd.page.server import READ_ONLY, STRICT
from recoverd.report import runbooks


def add_to(application: web.Application) -> None:
    """Add the pages to what is served at `listen`."""
    application.router.add_get(runbooks.PATH, _page)
    application.router.add_get(f"{runbooks.PATH}{{name}}", _page)


async def _page(request: web.Request) -> web.Response:
    # a link from one page to another is to a file of that name, as in the folder that they are read from
    name = request.match_info.get("name", runbooks.INDEX).removesuffix(".md")
    page = runbooks.page(name)
    if page is None:
        near = nearest(name, runbooks.names())
        said = f"did you mean {runbooks.PATH}{near}? " if near else ""
        return web.Response(status=404, text=f"there is no runbook of that name; {said}all of them: {runbooks.PATH}\n")
    return web.Response(text=page, content_type="text/html", headers=STRICT | {"Content-Security-Policy": READ_ONLY})
