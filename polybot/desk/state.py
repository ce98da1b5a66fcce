"""What a desk owns: its orders, positions, money and tallies, as plain data that fits a checkpoint (D7)."""

from collections.abc import Mapping

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import FillMatched
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.ledger import CASH, Ledger, Movement
from polybot.domain.market import Outcome, Side
from polybot.domain.order import Closed, Intended, Working
from polybot.domain.units import Millis, Money, Price, Shares, notional_floor
from polybot.strategies.base import OPINION_RANK, WAITING_RANK

ACCOUNT_CASH = "cash"
ACCOUNT_SHARES = "shares"
ACCOUNT_FEES = "fees"
ACCOUNT_MARKET = "market"
ACCOUNT_OWNER = "owner"

FINITE_MAX = 1e300
NOTHING_HELD: Mapping[Outcome, Shares] = {}


class MissRank:
    """How far an opinion came before it was passed on; the furthest of a window is its record."""

    NEVER_ASKED = 0
    WAITING = WAITING_RANK
    OPINION = OPINION_RANK
    GATE = 3
    VENUE = 4


class Tally(msgspec.Struct, kw_only=True):
    """One agent's window so far: what happened, and the nearest miss."""

    evaluations: int = 0
    missed: int = 0
    """Events of the window that came while the agent was away."""
    orders: int = 0
    fills: int = 0
    rank: int = MissRank.NEVER_ASKED
    code: str = "no_market_data"
    value: float = 0.0
    threshold: float = 0.0
    shortfall: float = FINITE_MAX
    text: str = ""
    refusals: dict[str, int] = {}

    def miss(self, rank: int, code: str, value: float, threshold: float, text: str = "") -> None:
        """Keep this miss if it came further than the one kept, or as far and nearer."""
        gap = threshold - value if threshold >= value else value - threshold
        shortfall = gap / abs(threshold) if threshold else gap
        if not shortfall < FINITE_MAX:
            raise BadInput(f"passed with {code!r} and {value} against {threshold}: the numbers of a pass are finite")
        if rank > self.rank or (rank == self.rank and shortfall < self.shortfall):
            self.rank, self.code, self.value, self.threshold = rank, code, value, threshold
            self.shortfall, self.text = shortfall, text


class Holding(msgspec.Struct, kw_only=True):
    """Confirmed shares of one order, with what was paid for them and the fees on it."""

    order: OrderId
    market: MarketId
    outcome: Outcome
    shares: Shares = Shares(0)
    cost: Money = Money(0)
    fees: Money = Money(0)


class DeskState(msgspec.Struct, kw_only=True):
    """All a desk must not forget. `orders` holds open orders only; `recorded` the windows whose record is written.

    `ended` and `final` remember the orders that are over and the fills that are confirmed or failed, until their market
    is forgotten: what a venue says late or twice is known for what it is (intake.py).

    `invested` (what unsettled positions cost, fees included) and `positions` (shares by market and outcome) are sums
    over `provisional` and `holdings`, kept up with every fill because every market event asks for them.
    """

    agent: AgentId
    capital: Money = Money(0)
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    orders: dict[OrderId, Intended | Working] = {}
    ended: dict[OrderId, Closed] = {}
    provisional: dict[FillId, FillMatched] = {}
    final: dict[FillId, MarketId] = {}
    holdings: dict[OrderId, Holding] = {}
    invested: Money = Money(0)
    positions: dict[MarketId, dict[Outcome, Shares]] = {}
    resolved: dict[MarketId, Price] = {}
    tallies: dict[MarketId, Tally] = {}
    recorded: set[MarketId] = set()
    pauses: dict[str, Millis | None] = {}
    next_order: int = 1
    next_transfer: int = 1
    loss_streak: int = 0
    realised: Money = Money(0)
    accepted: dict[OrderId, Money] = {}
    """What a person lets an order cost in all, beyond what was reserved for it."""

    @property
    def reserved(self) -> Money:
        """What open orders may still cost."""
        return Money(sum(_open_cost(order) for order in self.orders.values())) if self.orders else Money(0)

    @property
    def cash(self) -> Money:
        """Cash as posted and held; shown to people and compared by the auditor."""
        return Money(self.ledger.balance(ACCOUNT_CASH, CASH).posted)

    @property
    def cash_available(self) -> Money:
        return Money(self.ledger.balance(ACCOUNT_CASH, CASH).available - self.reserved)

    @property
    def exposure(self) -> Money:
        """Money at risk: what open orders may cost, and what unsettled positions did cost, fees included."""
        return Money(self.reserved + self.invested)

    @property
    def equity(self) -> Money:
        """Settled equity: capital plus what settled trades won or lost. Open positions count at cost."""
        return Money(self.capital + self.realised)

    def held(self, market: MarketId) -> Mapping[Outcome, Shares]:
        """Shares of `market` by outcome, provisional ones included."""
        return self.positions.get(market, NOTHING_HELD)

    def invest(self, market: MarketId, outcome: Outcome, shares: int, cost: int) -> None:
        """Count `shares` and their `cost` in (negative: out again, when they failed or were settled)."""
        self.invested = Money(self.invested + cost)
        held = self.positions.setdefault(market, {})
        held[outcome] = Shares(held.get(outcome, 0) + shares)
        if not held[outcome]:
            del held[outcome]
        if not held:
            del self.positions[market]

    def tally(self, market: MarketId) -> Tally:
        found = self.tallies.get(market)
        if found is None:
            found = self.tallies[market] = Tally()
        return found

    def busy_in(self, market: MarketId) -> bool:
        """True while an order is open or a fill is provisional there: too early to settle."""
        return any(order.intent.market == market for order in self.orders.values()) or any(
            fill.market == market for fill in self.provisional.values()
        )


def _open_cost(order: Intended | Working) -> int:
    spent = order.spent if isinstance(order, Working) else 0
    return max(0, order.intent.cost_max - spent)


def fill_cost(fill: FillMatched) -> Money:
    """What is paid for the shares or got for them, fee apart."""
    return notional_floor(fill.price, fill.shares)


def share_asset(market: MarketId, outcome: Outcome) -> str:
    return f"{market}:{outcome.name}"


def fill_movements(fill: FillMatched) -> tuple[Movement, ...]:
    """Cash against shares with the market, and the fee to the venue. Each asset sums to zero."""
    sign = 1 if fill.side is Side.BUY else -1
    cost, asset = sign * fill_cost(fill), share_asset(fill.market, fill.outcome)
    return (
        Movement(ACCOUNT_CASH, CASH, -cost - fill.fee),
        Movement(ACCOUNT_MARKET, CASH, cost),
        Movement(ACCOUNT_FEES, CASH, fill.fee),
        Movement(ACCOUNT_SHARES, asset, sign * fill.shares),
        Movement(ACCOUNT_MARKET, asset, -sign * fill.shares),
    )


def settlement_movements(holding: Holding, payout: Money) -> tuple[Movement, ...]:
    """The shares go back to the market, their payout comes to cash."""
    asset = share_asset(holding.market, holding.outcome)
    return (
        Movement(ACCOUNT_SHARES, asset, -holding.shares),
        Movement(ACCOUNT_MARKET, asset, holding.shares),
        Movement(ACCOUNT_CASH, CASH, payout),
        Movement(ACCOUNT_MARKET, CASH, -payout),
    )
