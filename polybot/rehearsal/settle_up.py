"""The reckoning after a rehearsal: journal, PostgreSQL and the exchange's books must tell one story."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pydantic import SecretStr

from polybot.chaos.real_books import retell
from polybot.chaos.real_compare import Compared, compare_facts, compare_tables, fresh_projection
from polybot.chaos.real_parts import OwnServers
from polybot.domain.ids import OrderId
from polybot.domain.order import CloseReason
from polybot.domain.units import notional_floor, parse_units
from polybot.live_account import opened_account
from polybot.rehearsal.compare import Ledger, compare
from polybot.rehearsal.floor import CAPITAL, FUNDS, Identity
from polybot.rehearsal.leaks import leaks
from polybot.rehearsal.switches import ExchangeBooks, Switches
from polybot.runs import journal_path
from polybot.settings import load_settings
from polybot.storage import postgres
from polybot.storage.journal import Journal
from polybot.venue.polymarket.order_form import form_of

if TYPE_CHECKING:
    from polybot.rehearsal.run import Outcome

UNEXPLAINED = b'"message": "unexplained: '
"""How the comparison's log lines begin (venue/polymarket/account.py)."""


class LogLine(msgspec.Struct, frozen=True):
    time: str
    message: str


async def settle_up(outcome: "Outcome", who: Identity, switches: Switches, data: Path) -> None:
    """Compare everything; what differs goes into `outcome.findings`. The floor has stopped, the exchange still runs."""
    books = await switches.books()
    elsewhere = parse_units(str(FUNDS)) - parse_units(str(CAPITAL))
    with Journal.open(journal_path(data)) as journal:
        ledger = Ledger()
        for entry in journal.read():
            ledger.take(entry)
        hashes = await order_hashes(ledger, switches.base, who)
        outcome.findings += compare(ledger, books, who.wallet, hashes, elsewhere)
        settled = {m.slug: m.payout_up for m in books.markets if m.payout_up is not None and m.slug in ledger.payouts}
        retold = retell(journal.read(), settled)
        outcome.findings += retold.findings
        compared = await _database(journal, data)
    outcome.findings += compared.findings
    outcome.findings += false_alarms(data.with_name(f"{data.name}.log"))
    secrets = {"the private key": who.private_key, "the relayer's key": await switches.relayer_key(who.address)}
    outcome.findings += leaks(outcome.folder, secrets)
    outcome.rows, outcome.facts, outcome.never_sent = compared.rows, retold.facts, retold.never_sent
    _count(outcome, ledger, books, who)


def false_alarms(log: Path) -> list[str]:
    """Differences that the floor's own comparison could not explain: nobody else uses the wallet, so there are none."""
    marks = (msgspec.json.decode(line, type=LogLine) for line in log.read_bytes().splitlines() if UNEXPLAINED in line)
    return list(dict.fromkeys(f"at {mark.time} the floor could not explain: {mark.message}" for mark in marks))


async def order_hashes(ledger: Ledger, exchange: str, who: Identity) -> Mapping[OrderId, str]:
    """The venue's name of every order that was written down, sent or not."""
    settings = load_settings(exchange=exchange, private_key=SecretStr(who.private_key))
    async with opened_account(settings) as client:
        return {
            order: client.signer.hash_of(form_of(intent, ledger.markets[intent.market], client.wallet))
            for order, intent in ledger.intents.items()
        }


async def _database(journal: Journal, data: Path) -> Compared:
    """Row by row with the journal, and every table with one made anew from it."""
    compared = Compared()
    async with OwnServers(data).database() as url:
        pool = await postgres.open_pool(url, connections_max=2)
        try:
            async with fresh_projection(journal, url) as fresh:
                await compare_facts(journal, pool, compared)
                await compare_tables(pool, fresh, compared)
        finally:
            await pool.close()
    return compared


def _count(outcome: "Outcome", ledger: Ledger, books: ExchangeBooks, who: Identity) -> None:
    outcome.windows, outcome.orders, outcome.fills = len(ledger.payouts), len(ledger.intents), len(ledger.fills)
    outcome.reached = sum(order.account == who.wallet for order in books.orders)
    outcome.batched = books.batched
    outcome.confirmed = sum(ledger.fates.values())
    outcome.ghosts = len(ledger.fates) - outcome.confirmed
    outcome.turnover = sum(notional_floor(fill.price, fill.shares) for fill in ledger.fills.values())
    outcome.never_sent = sum(reason is CloseReason.NEVER_SENT for reason in ledger.closed.values())
