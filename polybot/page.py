"""The floor's page: served, and its address noted where the other commands look for it. Part of app.py.

A feed process (feeding.py) serves what it has to say in the same place.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from aiohttp import web
from loguru import logger

from polybot.floor.closing import Closing
from polybot.settings import Settings
from polybot.web.control import Control
from polybot.web.server import CannotListen, WebServer, create_app, serve
from polybot.web.source import FloorSource


async def open_page(
    settings: Settings, source: FloorSource, control: Control, stack: AsyncExitStack, closing: Closing
) -> str:
    """Serve, and note the address for `polybot status`; the address."""
    server = await serve_at(settings, partial(create_app, source, extra_hosts=settings.web_hosts, control=control))
    stack.push_async_callback(server.close)
    stack.callback(closing.begin, "the page")
    note = page_note(settings.data_dir)
    note.write_text(server.url + "\n")
    stack.callback(note.unlink, missing_ok=True)
    return server.url


async def serve_at(settings: Settings, make: Callable[[], web.Application]) -> WebServer:
    """On the port asked for. Where nobody asked and the usual one is taken, on any free one: the page comes up."""
    try:
        return await serve(make(), settings.web_host, settings.web_port)
    except CannotListen as error:
        if "web_port" in settings.model_fields_set:
            raise
        logger.bind(action="open").warning("{}; another port is used", error)
        return await serve(make(), settings.web_host, 0)


def page_note(data_dir: Path) -> Path:
    """Where a running floor writes the address of its page, for `polybot status`."""
    return data_dir / "page.url"
