"""Everything that happens, in the past tense.

*Market events* come from a feed or a tape and are many; they are compact, and kept on the tape. *Facts* are what the
floor and the venue did; they are few, readable, and go to the journal before anything acts on them (D5).
"""

import enum
from typing import Any

import msgspec

from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.fact import AgentFact, Fact
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Millis, Money, Price, Shares

# -- market events ----------------------------------------------------------------------------------------------------
# `at` is the source's own time, `received` when it reached the recorder; both UTC milliseconds. Where a recording has
# no receive time, both are the same and its tape says so.


class MarketListed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="listed"):
    at: Millis
    received: Millis
    market: Market


class BookReplaced(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="book"):
    """A full snapshot of one outcome: prices ascending on both sides, sizes beside them."""

    at: Millis
    received: Millis
    market: MarketId
    outcome: Outcome
    bid_prices: list[Price]
    bid_sizes: list[Shares]
    ask_prices: list[Price]
    ask_sizes: list[Shares]


class LevelChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One level's new absolute size (0: gone); `best_bid`, `best_ask`: the top afterwards, None if not served."""

    outcome: Outcome
    side: Side
    price: Price
    size: Shares
    best_bid: Price | None = None
    best_ask: Price | None = None


class LevelsChanged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="levels"):
    at: Millis
    received: Millis
    market: MarketId
    changes: list[LevelChange]


class TradePrinted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="trade"):
    """A trade somebody made; `side` is the taker's. `transaction` tells two alike apart, "" where none is recorded."""

    at: Millis
    received: Millis
    market: MarketId
    outcome: Outcome
    side: Side
    price: Price
    size: Shares
    transaction: str = ""


class ReferencePriced(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="reference"):
    """The underlying's price from `source`, in millionths of a dollar."""

    at: Millis
    received: Millis
    asset: str
    source: str
    price: int


class TickSizeChanged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="tick"):
    at: Millis
    received: Millis
    market: MarketId
    tick: Price


class MarketResolved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="resolved"):
    """The venue's word on the outcome; `payout_up` millionths of a pUSD per Up share, the rest of 1 goes to Down."""

    at: Millis
    received: Millis
    market: MarketId
    payout_up: Price


class SnapshotRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="requested"):
    """We asked for these markets' books anew, at `received`: what answers is no older than that.

    Changes may have been lost before, and are lost while a subscription is made anew: no book counts until the answer.
    """

    at: Millis
    received: Millis
    markets: list[MarketId]


MarketEvent = (
    MarketListed
    | BookReplaced
    | LevelsChanged
    | TradePrinted
    | ReferencePriced
    | TickSizeChanged
    | MarketResolved
    | SnapshotRequested
)

# -- facts: what the venue answered -----------------------------------------------------------------------------------


class OrderAccepted(AgentFact, frozen=True, kw_only=True):
    order: OrderId


class OrderRejected(AgentFact, frozen=True, kw_only=True):
    """The venue did not take the order; `text` is in the venue's words."""

    order: OrderId
    text: str


class CancelRefused(AgentFact, frozen=True, kw_only=True):
    order: OrderId
    text: str


class Liquidity(enum.StrEnum):
    TAKER = "taker"
    MAKER = "maker"


class FillMatched(AgentFact, frozen=True, kw_only=True):
    """Provisional (D9). `fee` is on top of price times shares; `available` is the size there was to be matched with."""

    fill: FillId
    order: OrderId
    market: MarketId
    outcome: Outcome
    side: Side
    price: Price
    shares: Shares
    fee: Money
    liquidity: Liquidity
    available: Shares
    rebate_basis: Money = Money(0)


class FillConfirmed(AgentFact, frozen=True, kw_only=True):
    fill: FillId
    order: OrderId


class FillFailed(AgentFact, frozen=True, kw_only=True):
    """The match was undone on chain: the fill never was (polymarket.md 3.3)."""

    fill: FillId
    order: OrderId
    text: str


class OrderClosed(AgentFact, frozen=True, kw_only=True):
    order: OrderId
    reason: CloseReason


VenueReply = OrderAccepted | OrderRejected | CancelRefused | FillMatched | FillConfirmed | FillFailed | OrderClosed

# -- facts: what the floor did ----------------------------------------------------------------------------------------


class RunStarted(Fact, frozen=True, kw_only=True):
    """The first fact of every start: what was run, on what, with which settings."""

    run: str
    source: str
    mode: str
    capital: Money
    seed: int
    version: str
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


class RunEnded(Fact, frozen=True, kw_only=True):
    reason: str
    finished: bool
    """True when there was nothing left to play, False when the run can go on."""


class MarketOpened(Fact, frozen=True, kw_only=True):
    """The floor took a market on, with its terms at that moment."""

    market: Market


class MarketSettled(Fact, frozen=True, kw_only=True):
    market: MarketId
    payout_up: Price


class CapitalAllocated(AgentFact, frozen=True, kw_only=True):
    """`capital` is the agent's new whole allotment, `moved` what was added to its cash (negative: taken)."""

    capital: Money
    moved: Money


class AgentState(enum.StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    CRASHED = "crashed"
    BENCHED = "benched"
    STOPPED = "stopped"


class AgentChanged(AgentFact, frozen=True, kw_only=True):
    state: AgentState
    role: str
    text: str = ""


class IntentRecorded(AgentFact, frozen=True, kw_only=True):
    """Written before the order is sent (D8)."""

    intent: OrderIntent


class SignalRefused(AgentFact, frozen=True, kw_only=True):
    """A wish the gate turned down: the rule, the number that failed, and its limit. The first per window and rule."""

    market: MarketId
    rule: str
    value: float
    limit: float
    text: str


class Verdict(enum.StrEnum):
    TRADED = "TRADED"
    PASSED = "PASSED"
    DOWN = "DOWN"


class WindowRecorded(AgentFact, frozen=True, kw_only=True):
    """The one record an agent has for a window, always. PASSED has the nearest miss: its code, number, threshold."""

    market: MarketId
    verdict: Verdict
    reason: str
    value: float | None = None
    threshold: float | None = None
    shortfall: float | None = None
    text: str = ""
    evaluations: int = 0
    orders: int = 0
    fills: int = 0


class TradeSettled(AgentFact, frozen=True, kw_only=True):
    """The end of a position: `pnl` is payout less `cost` (what was paid for the shares) less `fees`."""

    order: OrderId
    market: MarketId
    outcome: Outcome
    shares: Shares
    cost: Money
    fees: Money
    payout: Money
    pnl: Money


class TradingPaused(Fact, frozen=True, kw_only=True):
    """A breaker opened (R14), for one agent or, with agent None, the floor. `until` None: until a person resumes."""

    agent: AgentId | None
    breaker: str
    value: float
    limit: float
    text: str
    until: Millis | None


class TradingResumed(Fact, frozen=True, kw_only=True):
    agent: AgentId | None
    breaker: str
    text: str


class TradeAudited(AgentFact, frozen=True, kw_only=True):
    """The auditor's word on one order, after the fact; `findings` is empty where it passed."""

    order: OrderId
    passed: bool
    findings: list[str]


class BooksAudited(AgentFact, frozen=True, kw_only=True):
    """The agent's cash as its desk has it and as the fills alone give it."""

    desk_cash: Money
    recomputed_cash: Money
    passed: bool


class MetricsRecorded(Fact, frozen=True, kw_only=True):
    """The monitor's figures for one agent or, with agent None, the floor. Money in millionths, the rest ratios."""

    agent: AgentId | None
    trades: int
    wins: int
    pnl: Money
    fees: Money
    equity: Money
    exposure: Money
    win_rate: float | None
    sharpe: float | None
    drawdown: float
    uptime: float


class Severity(enum.StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class SystemNoted(Fact, frozen=True, kw_only=True):
    """Anything a person may want to find later in `system_events`."""

    severity: Severity
    component: str
    text: str


class WalletMove(enum.StrEnum):
    OPENED = "opened"
    REDEEMED = "redeemed"
    MERGED = "merged"


class WalletMoved(Fact, frozen=True, kw_only=True):
    """`amount` pUSD came from shares of `market` (None: not the floor's). OPENED: so much there is not the floor's."""

    kind: WalletMove
    market: MarketId | None
    amount: Money
    transaction: str = ""


FloorFact = (
    RunStarted
    | RunEnded
    | MarketOpened
    | MarketSettled
    | CapitalAllocated
    | AgentChanged
    | IntentRecorded
    | SignalRefused
    | WindowRecorded
    | TradeSettled
    | TradingPaused
    | TradingResumed
    | TradeAudited
    | BooksAudited
    | MetricsRecorded
    | SystemNoted
    | WalletMoved
    | CashAccepted
    | SharesAccepted
    | CostAccepted
)
AnyFact = VenueReply | FloorFact


class Journaled(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with its place: `seq` counts facts from 1, `position` is the last market event applied before it."""

    seq: int
    position: int
    fact: AnyFact
