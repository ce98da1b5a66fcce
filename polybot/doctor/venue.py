"""What there is to examine at the venue: its clock and ours, whether it lets us trade, and our account there."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from polybot.clock import Clock
from polybot.doctor.findings import Finding, failed, passed, skipped
from polybot.doctor.here import dollars, is_first_start
from polybot.domain.errors import PolybotError
from polybot.domain.units import Money
from polybot.live_account import account_hosts, account_keys, opened_account, price_key
from polybot.live_settings import account_troubles
from polybot.settings import Settings
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.geoblock import ask_geoblock
from polybot.venue.polymarket.rest import Rest

if TYPE_CHECKING:
    from polybot.venue.polymarket.client import AccountClient

TROUBLE = (VenueUnavailable, VenueBusy)
OFFSET_MS_MAX = 2_000
"""The venue's answer has whole seconds; requests are signed with ours."""
ACCOUNT_CHECKS = ("gas", "claims", "standing", "balance", "allowances", "open orders")
WALLETS = {0: "the key itself (EOA)", 1: "a proxy wallet", 2: "a Safe", 3: "a deposit wallet"}
POL = 10**18
"""Wei in one."""
POL_MIN = POL
"""Some thirty settlements of 300,000 gas at 100 gwei."""
UNREACHABLE = "is this machine online, and POLYBOT_EXCHANGE (if set) right and running?"
APPROVE = (
    "trade once by hand on polymarket.com, which gives the approvals; or call setup_trading_approvals() of the "
    "official client"
)
NODE_UNREACHABLE = f"{UNREACHABLE} Where the public node is at fault, name one of your own: POLYBOT_RPC_URL"


async def examine_clock(settings: Settings, clock: Clock) -> Finding:
    rest = Rest(account_hosts(settings).clob)
    try:
        before = clock.now_ms()
        body = await rest.get("/time")
        after = clock.now_ms()
        told_ms = 1000 * int(body or b"")
    except TROUBLE as error:
        return failed("clock", f"the venue's clock cannot be read: {error}", UNREACHABLE)
    except ValueError:
        return failed("clock", "the venue's clock answers with something that is no time", UNREACHABLE)
    finally:
        await rest.close()
    ahead, behind = before - (told_ms + 999), told_ms - after
    off_ms = max(ahead, behind, 0)
    if off_ms > OFFSET_MS_MAX:
        which = "ahead of" if ahead > 0 else "behind"
        restarted = "an exchange that was started again begins anew, and so must the run: `polybot reset`"
        remedy = restarted if settings.exchange else "keep this machine's clock with NTP"
        return failed("clock", f"ours is {off_ms / 1000:.1f} s {which} the venue's", remedy)
    return passed("clock", "ours and the venue's agree, to the second")


async def examine_geoblock(settings: Settings) -> Finding:
    try:
        answer = await ask_geoblock(account_hosts(settings).geoblock)
    except TROUBLE as error:
        return failed("geoblock", f"no answer: {error}", UNREACHABLE)
    if answer.refusal:
        return failed("geoblock", answer.refusal, "run the floor from where the venue allows it; there is no setting")
    return passed("geoblock", f"orders are taken from {answer.country or 'here'}")


async def examine_account(settings: Settings, clock: Clock, client: "AccountClient | None") -> list[Finding]:
    """Of the account that is open already, or of one opened for this alone."""
    if account_troubles(settings):
        return [skipped(check, "live settings come first") for check in ("api key", "wallet", *ACCOUNT_CHECKS)]
    try:
        if client is None and account_keys(settings) is None:
            return _without_key(settings)
        async with _account(settings, clock, client) as opened:
            return [
                _api_key(settings, opened),
                _wallet(settings, opened),
                await _gas(opened),
                await _claims(opened),
                *await _state(settings, opened),
            ]
    except PolybotError as error:
        remedy = "check the private key, POLYBOT_WALLET, and the relayer's key and address; the venue must answer"
        rest = [skipped(check, "there is no account to ask") for check in ("wallet", *ACCOUNT_CHECKS)]
        return [failed("api key", str(error), remedy), *rest]


@asynccontextmanager
async def _account(settings: Settings, clock: Clock, client: "AccountClient | None") -> AsyncIterator["AccountClient"]:
    if client is not None:
        yield client
        return
    async with opened_account(settings, clock) as opened:
        yield opened


def _without_key(settings: Settings) -> list[Finding]:
    checks = ("api key", "wallet", *ACCOUNT_CHECKS)
    if settings.mode != "live":
        return [skipped(check, "paper money needs no account; no private key is set") for check in checks]
    remedy = "set POLYBOT_PRIVATE_KEY_FILE to a file that only you may read"
    return [failed("api key", "no private key is set", remedy), *(skipped(c, "no private key") for c in checks[1:])]


def _api_key(settings: Settings, client: "AccountClient") -> Finding:
    """The client has the venue give it another where it does not take the one that is set."""
    given = price_key(settings)
    if given is not None and given != client.credentials:
        remedy = "correct POLYBOT_API_KEY, _SECRET and _PASSPHRASE, or unset them: the private key gives one"
        return failed("api key", "the venue does not know the API key that is set", remedy)
    return passed("api key", "the venue knows our key")


def _wallet(settings: Settings, client: "AccountClient") -> Finding:
    wallet = client.wallet
    told = f"{wallet.address}, {WALLETS.get(wallet.signature_type, 'of an unknown type')}"
    if wallet.signature_type not in WALLETS:
        return failed("wallet", told, "this version cannot sign for it: use the account's deposit wallet")
    keys = account_keys(settings)
    if not wallet.pays_gas and (keys is None or not keys.relayer_key):
        remedy = "make a relayer key (polymarket.com, settings, API keys) and set POLYBOT_RELAYER_KEY and _ADDRESS"
        return failed("wallet", f"{told}: without a relayer's key its winnings cannot be redeemed", remedy)
    if wallet.pays_gas:
        return passed("wallet", told)
    return passed("wallet", f"{told}; its relayer's key is tried only when something is redeemed")


async def _gas(client: "AccountClient") -> Finding:
    """The relayer serves no EOA: it pays for every redemption and merge itself."""
    if not client.wallet.pays_gas:
        return passed("gas", "the venue's relayer pays for what this wallet does on chain")
    try:
        wei = await client.pol()
    except TROUBLE as error:
        return failed("gas", f"what the key has for gas cannot be read: {error}", NODE_UNREACHABLE)
    told = f"an EOA pays its own, and this one has {wei / POL:.2f} POL"
    if wei < POL_MIN:
        remedy = f"send it {POL_MIN // POL} POL or more on Polygon: its winnings cannot be redeemed without"
        return failed("gas", told, remedy)
    return passed("gas", told)


async def _claims(client: "AccountClient") -> Finding:
    """A node that does not answer keeps nobody out: what cannot be claimed is not lost, and told while it lasts."""
    try:
        may_claim = await client.may_claim()
    except TROUBLE as error:
        return skipped("claims", f"whether winnings can be claimed was not to be read from the chain: {error}")
    if not may_claim:
        return failed("claims", "the venue's adapter may not take this wallet's shares to pay for them", APPROVE)
    return passed("claims", "the venue's adapter may take shares, and pay for them")


async def _state(settings: Settings, client: "AccountClient") -> list[Finding]:
    standing, funds, orders = await asyncio.gather(_standing(client), _funds(settings, client), _orders(client))
    return [standing, *funds, orders]


async def _funds(settings: Settings, client: "AccountClient") -> list[Finding]:
    """Balance and allowances are one answer of the venue."""
    with suppress(*TROUBLE):  # it answers from a copy of the chain, and what was mended is to be seen
        await client.refresh_collateral()
    try:
        told = await client.collateral()
    except TROUBLE as error:
        return [failed(check, f"no answer: {error}", UNREACHABLE) for check in ("balance", "allowances")]
    return [_balance(settings, told.balance), _allowances(settings, told.allowances)]


async def _standing(client: "AccountClient") -> Finding:
    try:
        closed_only = await client.closed_only()
    except TROUBLE as error:
        return failed("standing", f"no answer: {error}", UNREACHABLE)
    if closed_only:
        return failed("standing", "the venue lets this wallet only close positions", "ask the venue's support why")
    return passed("standing", "the venue takes orders of this wallet")


def _balance(settings: Settings, balance: Money) -> Finding:
    """At the first start all of the capital has to be there; later some of it is in positions, or lost."""
    capital = settings.capital_money
    told = f"{dollars(balance)} of pUSD; the floor trades {dollars(capital)}"
    if is_first_start(settings) and balance < capital:
        return failed("balance", told, "put pUSD into the wallet, or lower POLYBOT_CAPITAL")
    return passed("balance", told)


def _allowances(settings: Settings, allowances: Mapping[str, int]) -> Finding:
    short = sorted(spender for spender, allowed in allowances.items() if Money(allowed) < settings.capital_money)
    if not allowances:
        return failed("allowances", "the venue names no contract that may take our pUSD", APPROVE)
    if short:
        return failed("allowances", f"these contracts may not take our pUSD: {', '.join(short)}", APPROVE)
    return passed("allowances", f"{len(allowances)} of the venue's contracts may take our pUSD")


async def _orders(client: "AccountClient") -> Finding:
    try:
        orders = await client.open_orders()
    except TROUBLE as error:
        return failed("open orders", f"no answer: {error}", UNREACHABLE)
    return passed(
        "open orders", f"{len(orders)} at the venue; what is not the floor's, it cancels" if orders else "none"
    )
