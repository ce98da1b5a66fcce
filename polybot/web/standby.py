"""What a standby answers: that it is one, whom it waits for, and since when. It is healthy, and it trades nothing.

The account can be stopped from here, too (standby_switch.py)."""

from collections.abc import Callable, Collection

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from polybot import __version__
from polybot.storage.candidate import StandbyStatus
from polybot.web.aside import Said, create_aside_app
from polybot.web.control import Control
from polybot.web.json_form import to_plain

NOT_HERE = "this is a standby: it knows nothing of the run until it takes over; ask the floor that leads"


def create_standby_app(
    status: Callable[[], StandbyStatus], *, extra_hosts: Collection[str] = (), control: Control | None = None
) -> web.Application:
    """200 at /health, or Docker would count a waiting standby as sick; the body's `state` tells it from a floor.

    `control` None: nothing can be stopped from here.
    """
    registry = CollectorRegistry(auto_describe=False)
    Gauge("polybot_standby", "1 while this instance waits to lead.", registry=registry).set(1)

    def said() -> Said:
        now = status()
        return Said(
            health={"state": "standby", "fit": False, "version": __version__, **to_plain(now)},
            page=f"PolyBot {__version__}: waiting as a standby. {now.why}\n",
            elsewhere={"error": NOT_HERE, "state": "standby", "why": now.why},
        )

    app = create_aside_app(said, registry, extra_hosts=extra_hosts)
    if control is not None:
        control.add_to(app)
    return app
