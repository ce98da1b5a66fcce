"""`polybot exchange`: a venue of one's own, on this machine, to rehearse on (docs/exchange.md)."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from polybot.clock import SystemClock
from polybot.domain.errors import BadInput
from polybot.domain.units import UNIT, Millis, Money, parse_units
from polybot.exchange.core.model import Address, Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.guest import Guest, guest_of, write_settings
from polybot.exchange.recorded import recorded_windows
from polybot.exchange.server import PORT, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.timetable import plan_series
from polybot.paths import command, tapes_dir

MINUTE_MS = 60_000
GUEST_MONEY = Money(1_000 * UNIT)
"""A floor's capital where nothing else is set."""


def add_to(app: typer.Typer) -> None:
    app.command()(exchange)


def exchange(
    *,
    tape: Annotated[list[Path] | None, typer.Option(help="A tape whose markets are played; may be repeated.")] = None,
    asset: Annotated[
        list[str] | None, typer.Option(help="A series to run; may be repeated. Default: BTC, ETH.")
    ] = None,
    minutes: Annotated[int, typer.Option(help="Length of the windows: 5, 15 or 240.")] = 15,
    version: Annotated[str, typer.Option(help="Protocol of the markets: v1, v2 or both.")] = "v1",
    speed: Annotated[float, typer.Option(help="How fast the exchange's clock runs.")] = 1.0,
    into: Annotated[
        float | None, typer.Option(help="Seconds into the present window at which its clock begins; default: now.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0: any free one.")] = PORT,
    seed: Annotated[int, typer.Option(help="Of the exchange's chance, and of its API keys.")] = 0,
    ghost_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of trades that fail on chain.")] = 0.0,
    fund: Annotated[list[str] | None, typer.Option(help="ADDRESS=AMOUNT in pUSD; may be repeated.")] = None,
    guest: Annotated[
        Path | None,
        typer.Option(help="A folder for a key with 1,000 pUSD, and the settings of a live floor that has it."),
    ] = None,
) -> None:
    """Run a venue on this machine: the venue's protocols, recorded markets, and faults that can be switched on."""
    clock = FastClock(speed, begin(minutes * MINUTE_MS, into))
    made = Exchange(clock, rules=Rules(ghost_rate=ghost_rate), seed=seed)
    for text in fund or []:
        address, _, amount = text.partition("=")
        made.engine.deposit(_address(address), Money(parse_units(amount)))
    visitor = guest_of(guest) if guest is not None else None
    if visitor is not None:
        made.engine.deposit(visitor.wallet, GUEST_MONEY)
    windows = recorded_windows(tape or sorted(tapes_dir().glob("*.tape")))
    plans = plan_series(windows, asset or ["BTC", "ETH"], frame_ms=minutes * MINUTE_MS, version=version)
    around = Surroundings(made, plans)
    uvloop.run(_serve(made, around, host, port, visitor))


async def _serve(made: Exchange, around: Surroundings, host: str, port: int, guest: Guest | None) -> None:
    """Until it is interrupted or asked to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    server = await serve(create_app(made, [around.add_to]), host, port)
    typer.echo(f"loopback exchange at {server.url} (CLOB: {server.url}/clob); Ctrl-C stops it")
    _invite(server.url, guest)
    try:
        await stop.wait()
    finally:
        await server.close()


def _invite(url: str, guest: Guest | None) -> None:
    """What to type, in another terminal, for a floor on this exchange."""
    if guest is None:
        given = f"POLYBOT_SOURCE=polymarket POLYBOT_EXCHANGE={url}"
        typer.echo(f"for a floor with paper money on it, type: {given} {command()} run --data-dir data-loopback")
        return
    write_settings(guest, url)
    typer.echo(f"for a floor in live mode on it, type: set -a; . {guest.settings}; set +a")
    typer.echo(f"and then: {command()} doctor, which says what else it takes, and {command()} run")


def begin(frame_ms: int, into_s: float | None) -> Millis | None:
    """Where the clock is set to: so far into the window the machine's clock is in; None: as that is."""
    now = SystemClock().now_ms()
    return None if into_s is None else Millis(now - now % frame_ms + round(into_s * 1000))


def _address(text: str) -> Address:
    digits = text.removeprefix("0x")
    if len(digits) != 40 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise BadInput(f"{text!r} is no address: 0x and 40 hexadecimal digits")
    return Address(text.lower())
