"""The floor's status in a terminal: fetched from a running floor, drawn with rich."""

from typing import Literal

import aiohttp
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polybot.circuit import CircuitState
from polybot.domain.book import BookState
from polybot.domain.errors import BadInput, PolybotError
from polybot.domain.events import AgentState
from polybot.domain.units import UNIT, Price
from polybot.floor.status import (
    ENDS_BY_ITSELF,
    AgentStatus,
    FloorStatus,
    MarketStatus,
    PriceStatus,
    QuoteStatus,
    StoreState,
    StoreStatus,
    TradeLine,
)
from polybot.web.json_form import from_json, utc_text

FETCH_SECONDS_MAX = 10.0
NONE = "–"
STATE_STYLES = {
    AgentState.RUNNING: "green",
    AgentState.STARTING: "yellow",
    AgentState.CRASHED: "bold red",
    AgentState.BENCHED: "bold yellow",
    AgentState.STOPPED: "dim",
}
STORE_STYLES = {StoreState.OK: "green", StoreState.DEGRADED: "yellow", StoreState.DOWN: "bold red"}


class FloorUnreachable(PolybotError):
    """No floor answers where one was looked for; the text says what does, and what to do."""


async def fetch_status(base_url: str) -> FloorStatus:
    """Ask the floor at `base_url` (such as http://127.0.0.1:8080) for its status. Raises FloorUnreachable."""
    url = f"{base_url.rstrip('/')}/api/status"
    try:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            content = await answer.read()
            code = answer.status
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:
        raise FloorUnreachable(_no_answer(base_url, error)) from error
    try:
        return from_json(content, FloorStatus)
    except BadInput as error:
        raise FloorUnreachable(_no_floor(base_url, code, content)) from error


START_OR_NAME = (
    "Start one with `polybot run` or `make run`, or name the page of the one that runs: `polybot status --url`"
)


def _no_answer(base_url: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):  # aiohttp's own are both, and say less
        why = f"something listens there and has not answered for {FETCH_SECONDS_MAX:.0f} s"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f"there is no host {error.host!r}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = "nothing listens there"
    elif isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError) or not isinstance(
        error, aiohttp.ClientError
    ):
        return f"{base_url!r} is no address of a page: write it like http://127.0.0.1:8080"
    else:
        why = str(error) or type(error).__name__
    return f"no floor answers at {base_url}: {why}. {START_OR_NAME}"


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What a standby, a feed, or a floor that does not answer to a name, says instead of a status."""

    error: str
    state: str = ""
    why: str = ""


def _no_floor(base_url: str, code: int, content: bytes) -> str:
    try:
        said = msgspec.json.decode(content, type=_Refusal)
    except msgspec.MsgspecError:
        return (
            f"what answers at {base_url} (HTTP {code}) is no floor of this version: name the floor's own page with "
            "`polybot status --url`, or set POLYBOT_WEB_PORT to its port"
        )
    if said.state == "standby":
        return (
            f"a standby answers at {base_url}: {said.why}. It trades nothing and knows nothing of the run until it "
            "takes over; ask the floor that leads: `polybot status --url` with its page"
        )
    if said.state == "feed":
        return f"a feed answers at {base_url}, not a floor: it trades nothing; ask a floor with `polybot status --url`"
    return f"the floor at {base_url} refuses (HTTP {code}): {said.error}"


def render_status(status: FloorStatus) -> RenderableType:
    """The whole status, for `rich.console.Console.print`."""
    parts: list[RenderableType] = [_fitness(status), _figures(status), _agents(status.agents)]
    if status.markets:
        parts.append(_markets(status.markets))
    if status.recent_trades:
        parts.append(_trades(status.recent_trades))
    parts.append(_stores(status))
    parts += [_venue(status)] if status.feed is not None or status.account is not None else []
    return Group(*parts)


# -- parts ------------------------------------------------------------------------------------------------------------


def _fitness(status: FloorStatus) -> Text:
    head = f"{status.mode} · {status.source} · run {status.run} · PolyBot {status.version}"
    text = Text(f"{printable(head)}\n", style="dim")
    if status.fit and status.finished:
        return Text("THE TAPE IS OVER", style="bold")
    if not status.fit:
        text.append("NOT FIT TO TRADE", style="bold red")
        text.append(f": {printable('; '.join(status.reasons)) or 'no reason given'}")
    elif (bar := _bar(status)) is not None:
        text.append(bar, style="bold yellow")
    else:
        text.append("FIT TO TRADE", style="bold green")
    for pause in status.paused:
        end = "that is over" if pause.breaker in ENDS_BY_ITSELF else "a person resumes"
        until = utc_text(pause.until) if pause.until is not None else end
        text.append(f"\nPAUSED {printable(pause.scope)}", style="bold yellow")
        text.append(f" by {printable(f'{pause.breaker}: {pause.text}')} (until {until})")
    return text


def _bar(status: FloorStatus) -> str | None:
    """What keeps the whole floor from trading though it is fit to, in the page's words (page.js)."""
    footing = status.leadership.footing if status.leadership is not None else ""
    if footing == "deposed":
        return "NOT TRADING: another floor leads this account"
    if footing in ("paused", "asleep") or any(pause.breaker == "not_leader" for pause in status.paused):
        return "NOT TRADING: whether this floor still leads its account is not known"
    return "PAUSED: no orders are sent" if any(pause.scope == "floor" for pause in status.paused) else None


def _figures(status: FloorStatus) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    unsure = f", {dollars(status.provisional)} of it not confirmed yet" if status.provisional else ""
    limit = "" if status.exposure_max is None else f" of {dollars(status.exposure_max)} allowed"
    figures = [
        ("equity", Text.assemble((dollars(status.equity), "bold"), "  ", signed(status.pnl))),
        ("exposure", Text(f"{dollars(status.exposure)}{limit}{unsure}; cash {dollars(status.cash)}")),
        ("trades", Text(f"{status.trades}, won {percent(status.win_rate)}, fees {dollars(status.fees)}")),
        ("market time", Text(NONE if status.market_time is None else utc_text(status.market_time))),
        ("progress", Text(_progress(status))),
        ("as of", Text(utc_text(status.wall_time))),
    ]
    for name, value in figures:
        grid.add_row(name, value)
    return grid


def _progress(status: FloorStatus) -> str:
    windows_total = "" if status.windows_total is None else f" of {status.windows_total}"
    events_total = "" if status.events_total is None else f" of {status.events_total:,}"
    return f"{status.windows_settled}{windows_total} windows settled, {status.position:,}{events_total} events"


def _agents(agents: tuple[AgentStatus, ...]) -> Table:
    table = _table("agents", "agent", "state", ">beat", ">trades", ">won", ">pnl", "last window")
    for agent in agents:
        trades = agent.strategy is not None
        restarted = f", restarted {agent.restarts}×" if agent.restarts else ""
        verdict = f"{agent.last_verdict}: " if agent.last_verdict else ""
        table.add_row(
            Text(printable(agent.name)),
            Text(f"{agent.state}{restarted}", STATE_STYLES[agent.state]),
            NONE if agent.last_beat_age_s is None else f"{agent.last_beat_age_s:.1f} s",
            str(agent.trades) if trades else NONE,
            percent(agent.win_rate),
            signed(agent.pnl) if trades else NONE,
            Text(printable(f"{verdict}{agent.last_reason}")),
        )
    return table


def _markets(markets: tuple[MarketStatus, ...]) -> Table:
    table = _table("markets", "!market", ">left", "Up bid/ask", "book", "Down bid/ask", "book")
    for market in markets:
        left = f"{int(market.seconds_left) // 60}:{int(market.seconds_left) % 60:02d}"
        table.add_row(Text(_window(market), no_wrap=True), left, *_quote(market.up), *_quote(market.down))
    return table


def _window(market: MarketStatus) -> str:
    """As the page names it; the id's end, which tells one window from the next, is what a narrow terminal cuts off."""
    return f"{printable(market.series)} {utc_text(market.window_start)[11:16]}–{utc_text(market.window_end)[11:16]}"


def _quote(quote: QuoteStatus) -> tuple[str, Text]:
    age = "" if quote.book_age_ms is None else f" {quote.book_age_ms / 1000:.1f} s"
    style = "bold red" if quote.book_state is BookState.CONTRADICTED else ""
    return f"{_price(quote.bid)} / {_price(quote.ask)}", Text(f"{quote.book_state}{age}", style)


def _trades(trades: tuple[TradeLine, ...]) -> Table:
    table = _table("last trades", "at", "agent", "market", "side", ">shares", ">price", ">pnl", "reason")
    for trade in trades[:10]:
        table.add_row(
            utc_text(trade.at)[11:19],
            Text(printable(trade.agent)),
            Text(printable(trade.market)),
            trade.outcome.name.capitalize(),
            f"{trade.shares / UNIT:.2f}",
            _price(trade.price),
            "open" if trade.pnl is None else signed(trade.pnl),
            Text(printable(trade.reason)),
        )
    return table


def _stores(status: FloorStatus) -> Text:
    text = Text()
    for name, store in (("journal", status.journal), ("database", status.database), ("redis", status.redis)):
        text.append(f"{name} ")
        text.append(store.state, STORE_STYLES[store.state])
        text.append(f"{_store_note(store)}   ")
    for circuit in status.circuits:
        if circuit.state is not CircuitState.CLOSED:
            text.append(f"breaker on {printable(circuit.name)} ")
            text.append(circuit.state, "bold yellow")
            text.append(f", {circuit.failures} failures in a row   ")
    if status.feed is not None:
        text.append_text(_prices(status.feed.prices))
    return text


def _prices(prices: tuple[PriceStatus, ...]) -> Text:
    if not prices:
        return Text("no reference price yet", "yellow")
    ages = [f"{price.asset} {price.source} {price.age_ms / 1000:.1f} s" for price in prices if price.stale]
    if ages:
        return Text(f"stale reference prices: {printable(', '.join(ages))}", "bold red")
    return Text(f"reference prices {len(prices)}, the oldest {max(price.age_ms for price in prices) / 1000:.1f} s")


def _venue(status: FloorStatus) -> Text:
    """How a live floor stands with the venue: its data, and with real money its wallet."""
    text, feed, account = Text(), status.feed, status.account
    if feed is not None:
        flows = "connected" if feed.connected else "not connected"
        away = None if feed.outage_since is None else f"away since {utc_text(feed.outage_since)}"
        text.append(f"market data {away or flows}   ", "bold red" if away else "")
    if account is not None and account.troubles:
        text.append(f"account: {printable('; '.join(account.troubles))}", "bold red")
    elif account is not None:
        text.append("wallet not read yet" if account.wallet is None else f"wallet {dollars(account.wallet)}")
        text.append(f", {_unpaid(account.unpaid)}" if account.unpaid else "")
    return text


def _unpaid(amount: int) -> str:
    """Below 0 for sets that were merged before their window was settled."""
    return f"{dollars(amount)} to be redeemed" if amount > 0 else f"{dollars(-amount)} of it merged ahead of settlement"


def _store_note(store: StoreStatus) -> str:
    lag = f", {store.lag_rows} rows behind" if store.lag_rows else ""
    since = f" since {utc_text(store.since)}" if store.since is not None and store.state is not StoreState.OK else ""
    detail = f" ({printable(store.detail)})" if store.detail else ""
    return f"{since}{lag}{detail}"


# -- leaves -----------------------------------------------------------------------------------------------------------


def _table(title: str, *columns: str) -> Table:
    """A table; a column that starts with > is set to the right, one that starts with ! is never cut."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False, title_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(
            column.lstrip(">!"), justify=justify, header_style="dim", min_width=19 if column.startswith("!") else None
        )
    return table


def printable(text: str) -> str:
    """Texts come from venues and strategies: none may move the cursor. Cells want it as Text, free of markup."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def dollars(amount: int) -> str:
    """To the cent, for reading only; rounded half away from zero."""
    cents = (abs(amount) + 5_000) // 10_000
    sign = "-" if amount < 0 and cents else ""
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def signed(amount: int) -> Text:
    text = dollars(amount)
    style = "red" if text.startswith("-") else "green" if text != "$0.00" else ""
    return Text(text if amount <= 0 else f"+{text}", style)


def percent(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio * 100:.1f} %"


def _price(price: Price | None) -> str:
    """In cents or finer as the tick is, but never fewer than two decimals."""
    if price is None:
        return NONE
    whole, fraction = divmod(price, UNIT)
    return f"{whole}.{f'{fraction:06d}'.rstrip('0').ljust(2, '0')}"
