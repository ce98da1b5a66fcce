"""The floor's side of the comparison with its account at the venue (venue/polymarket/account.py). Pure.

A desk's cash is what is posted: a fill counts once it is confirmed, a won position once its market is settled. On chain
a buy is paid when it is mined, a win when it is redeemed, a complete set when it is merged: a while before or after the
floor has been told. In between the wallet may have either, and the span says so; where nothing is on its way it is one
number. `room.state.wallet` remembers what no desk does (desk/wallet.py).
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from polybot.desk.room import RoomState, TradingRoom
from polybot.desk.state import DeskState, fill_cost
from polybot.domain.events import FillMatched, WalletMove, WalletMoved
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Millis, Money, Price, Shares, notional_ceil
from polybot.venue.polymarket.account_compare import elsewhere_at_first
from polybot.venue.polymarket.account_settlement import MERGE_MIN, Claim, ClaimKind, Settled
from polybot.venue.polymarket.account_values import AccountReading, Books, Holding

HashOf = Callable[[OrderIntent], str | None]
"""The venue's name of an order; None for one whose market is not known any more."""
STUCK_MS = 1_800_000
"""Trades are final within seconds; one that is retried has been for minutes."""
ROUNDED = UNIT // 100
"""How far the data service's value of a position may lie from what the chain pays for it."""


def books_of(room: TradingRoom, hash_of: HashOf) -> Books:
    state, desks = room.state, [desk.state for desk in room.desks.values()]
    told = sum(desk.cash for desk in desks) - state.wallet.unpaid
    coming = sum(fill_cost(fill) + fill.fee for desk in desks for fill in desk.provisional.values())
    stakes = _stakes(state, desks)
    return Books(
        cash_least=Money(told - coming),
        cash_most=Money(told + sum(_untold(stake) for stake in stakes)),
        elsewhere=state.wallet.elsewhere,
        holdings=tuple(holding for stake in stakes for holding in _holdings(stake)),
        intents=dict(_intents(desks, hash_of)),
        open=frozenset(_open(desks, hash_of)),
        conditions=frozenset(ConditionId(market.condition_id) for market in state.markets.values()),
    )


# -- facts for the journal ---------------------------------------------------------------------------------------------


def wallet_opened(room: TradingRoom, hash_of: HashOf, reading: AccountReading, at: Millis) -> WalletMoved | None:
    """The run's first comparison. None where there was one, or while something is on its way: then nothing is exact."""
    books = books_of(room, hash_of)
    busy = any(desk.state.orders for desk in room.desks.values())
    if books.elsewhere is not None or busy or books.cash_least != books.cash_most:
        return None
    return WalletMoved(at=at, kind=WalletMove.OPENED, market=None, amount=elsewhere_at_first(books, reading))


def stuck_fills(room: TradingRoom, now: Millis) -> list[FillMatched]:
    """Fills that have been neither confirmed nor failed for so long that somebody should look: until they are final
    their window is not settled, and nothing here can know how they end."""
    fills = (fill for desk in room.desks.values() for fill in desk.state.provisional.values())
    return [fill for fill in fills if now - fill.at >= STUCK_MS]


def wallet_moves(room: TradingRoom, settled: Settled) -> list[WalletMoved]:
    """A confirmed transaction of the redeemer as facts, one for each market."""
    return [
        WalletMoved(
            at=settled.at,
            kind=WalletMove.MERGED if claim.kind is ClaimKind.MERGE else WalletMove.REDEEMED,
            market=_ours(room, claim.condition),
            amount=_paid(claim),
            transaction=settled.transaction,
        )
        for claim in settled.claims
    ]


def _paid(claim: Claim) -> Money:
    """What the chain paid: a winning share is worth one pUSD to the millionth, the data service rounds its value."""
    nearest = min(claim.shares, key=lambda shares: abs(shares - claim.worth))
    return Money(nearest) if abs(nearest - claim.worth) < ROUNDED else claim.worth


def _ours(room: TradingRoom, condition: ConditionId) -> MarketId | None:
    """The market, where the floor has a stake in it or waits to be paid; None: the shares were somebody else's."""
    wallet = room.state.wallet.markets
    waited = next((name for name, market in wallet.items() if market.condition == condition), None)
    if waited is not None:
        return waited
    held = {name for desk in room.desks.values() for name in desk.state.positions}
    return next((m.id for m in room.state.markets.values() if m.condition_id == condition and m.id in held), None)


# -- what may be on its way --------------------------------------------------------------------------------------------


class _Stake(msgspec.Struct, frozen=True, kw_only=True):
    """The floor's shares of one market, Up and Down, and what has been told of turning them into pUSD."""

    name: MarketId
    market: Market | None
    confirmed: tuple[int, int]
    coming: tuple[int, int]
    unpaid: int
    merged: int
    payout_up: Price | None
    is_over: bool
    """Its window has ended: it may have been resolved and redeemed on chain before anybody told us."""

    @property
    def most(self) -> tuple[int, int]:
        return self.confirmed[0] + self.coming[0], self.confirmed[1] + self.coming[1]

    @property
    def sets(self) -> int:
        """Complete sets that may have been merged without our having been told."""
        sets = min(self.most) - self.merged
        return sets if sets >= MERGE_MIN else 0


def _stakes(state: RoomState, desks: Sequence[DeskState]) -> list[_Stake]:
    """Of every market in which a desk has, or may come to have, shares, or for which something is still to be paid."""
    confirmed: dict[tuple[MarketId, Outcome], int] = {}
    coming: dict[tuple[MarketId, Outcome], int] = {}
    for desk in desks:
        for held in desk.holdings.values():
            key = (held.market, held.outcome)
            confirmed[key] = confirmed.get(key, 0) + held.shares
        for fill in desk.provisional.values():
            key = (fill.market, fill.outcome)
            coming[key] = coming.get(key, 0) + fill.shares
    for name, beside in state.wallet.beside.items():
        for outcome, shares in beside.items():
            confirmed[name, outcome] = confirmed.get((name, outcome), 0) + shares
    names = {name for name, _ in confirmed.keys() | coming.keys()} | state.wallet.markets.keys()
    return [
        _stake(
            state,
            name,
            (confirmed.get((name, Outcome.UP), 0), confirmed.get((name, Outcome.DOWN), 0)),
            (coming.get((name, Outcome.UP), 0), coming.get((name, Outcome.DOWN), 0)),
        )
        for name in sorted(names)
    ]


def _stake(state: RoomState, name: MarketId, confirmed: tuple[int, int], coming: tuple[int, int]) -> _Stake:
    market, known = state.markets.get(name), state.wallet.markets.get(name)
    payout_up = state.payouts.get(name)
    return _Stake(
        name=name,
        market=market,
        confirmed=confirmed,
        coming=coming,
        unpaid=known.unpaid if known is not None else 0,
        merged=known.merged if known is not None else 0,
        payout_up=payout_up,
        is_over=payout_up is not None or market is None or market.window_end <= state.latest,
    )


def _untold(stake: _Stake) -> int:
    """pUSD that the chain may have paid already for these shares, or for a win that was booked."""
    if not stake.is_over:
        return stake.sets
    up, down = (Shares(shares) for shares in stake.most)
    worth: int = max(up, down)
    if stake.payout_up is not None:
        worth = notional_ceil(stake.payout_up, up) + notional_ceil(Price(UNIT - stake.payout_up), down)
    return max(0, stake.unpaid + worth)


def _holdings(stake: _Stake) -> Iterable[Holding]:
    """Until the market is settled: then shares are money that is paid or not."""
    tokens = stake.market.tokens if stake.market is not None else None
    if tokens is None or stake.payout_up is not None:
        return
    for outcome in Outcome:
        if not stake.most[outcome]:
            continue
        least = 0 if stake.is_over else stake.confirmed[outcome] - stake.merged - stake.sets
        yield Holding(
            market=stake.name,
            token=TokenId(tokens[outcome]),
            least=Shares(max(0, least)),
            most=Shares(max(0, stake.most[outcome] - stake.merged)),
        )


# -- orders ------------------------------------------------------------------------------------------------------------


def _intents(desks: Iterable[DeskState], hash_of: HashOf) -> Iterable[tuple[str, OrderIntent]]:
    """Orders that are open, and those that ended in a market not yet forgotten."""
    for desk in desks:
        for order in (*desk.orders.values(), *desk.ended.values()):
            name = hash_of(order.intent)
            if name is not None:
                yield name, order.intent


def _open(desks: Iterable[DeskState], hash_of: HashOf) -> Iterable[str]:
    for desk in desks:
        for order in desk.orders.values():
            name = hash_of(order.intent)
            if name is not None:
                yield name
