"""Facts for storage tests: one of each kind, and whole lives of orders, with sensible numbers."""

from polybot.domain import events
from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.book import BookState
from polybot.domain.events import AnyFact
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import AgentId, ConditionId, FillId, MarketId, OrderId, SeriesId, TokenId, fill_id, order_id
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent, Proof, TimeInForce
from polybot.domain.units import Millis, Money, Price, Shares

START = 1_790_586_000_000
WINDOW_MS = 900_000
MOMENTUM = AgentId("momentum")


def at(number: int) -> Millis:
    return Millis(START + number)


def dollars(amount: float) -> Money:
    return Money(round(amount * 1_000_000))


def market(number: int = 0) -> Market:
    start = START + number * WINDOW_MS
    return Market(
        id=MarketId(f"btc-updown-15m-{start // 1000}"),
        condition_id=ConditionId(f"0x{number:064x}"),
        series=SeriesId("BTC-15m"),
        asset="BTC",
        window_start=Millis(start),
        window_end=Millis(start + WINDOW_MS),
        tick=Price(10_000),
        size_min=Shares(5_000_000),
        fees=FeeSchedule(rate=70_000, rebate_rate=200_000),
        taker_delay_ms=250,
        rule_set="chainlink-twap60-2026-08-07",
        tokens=(TokenId("1"), TokenId("2")),
    )


def intent(agent: AgentId = MOMENTUM, number: int = 1, *, state: BookState = BookState.VERIFIED) -> OrderIntent:
    proof = Proof(
        event_seq=41,
        book_state=state,
        book_age_ms=120,
        book_age_ms_max=5_000,
        best_bid=Price(500_000),
        best_ask=Price(510_000),
        depth=Shares(80_000_000),
        fee_fingerprint=market().fees.fingerprint,
        rule_set="chainlink-twap60-2026-08-07",
        capital_base=dollars(1000),
        agent_exposure=Money(0),
        floor_exposure=Money(0),
    )
    return OrderIntent(
        id=order_id(agent, number),
        agent=agent,
        market=market().id,
        outcome=Outcome.UP,
        side=Side.BUY,
        limit=Price(510_000),
        shares=Shares(30_000_000),
        time_in_force=TimeInForce.FAK,
        post_only=False,
        cost_max=dollars(16),
        decided_at=at(number),
        fair_value=Price(600_000),
        reason="it rose \N{EM DASH} twice",
        inputs={"move": 1.5},
        proof=proof,
    )


def intended(wish: OrderIntent) -> AnyFact:
    return events.IntentRecorded(at=at(10), agent=wish.agent, intent=wish)


def accepted(wish: OrderIntent) -> AnyFact:
    return events.OrderAccepted(at=at(20), agent=wish.agent, order=wish.id)


def matched(wish: OrderIntent, number: int = 1, *, shares: int = 10_000_000, price: int = 510_000) -> AnyFact:
    return events.FillMatched(
        at=at(30 + number),
        agent=wish.agent,
        fill=fill_id(wish.id, number),
        order=wish.id,
        market=wish.market,
        outcome=wish.outcome,
        side=wish.side,
        price=Price(price),
        shares=Shares(shares),
        fee=Money(174_930),
        liquidity=events.Liquidity.TAKER,
        available=Shares(80_000_000),
    )


def confirmed(wish: OrderIntent, number: int = 1) -> AnyFact:
    return events.FillConfirmed(at=at(40), agent=wish.agent, fill=fill_id(wish.id, number), order=wish.id)


def failed(wish: OrderIntent, number: int = 1) -> AnyFact:
    fill: FillId = fill_id(wish.id, number)
    return events.FillFailed(at=at(50), agent=wish.agent, fill=fill, order=wish.id, text="reverted")


def closed(wish: OrderIntent, reason: CloseReason = CloseReason.KILLED) -> AnyFact:
    return events.OrderClosed(at=at(60), agent=wish.agent, order=wish.id, reason=reason)


def settled(wish: OrderIntent, pnl: float, *, shares: int = 10_000_000) -> AnyFact:
    cost, fees = dollars(5.1), Money(174_930)
    return events.TradeSettled(
        at=at(70), agent=wish.agent, order=wish.id, market=wish.market, outcome=wish.outcome, shares=Shares(shares),
        cost=cost, fees=fees, payout=Money(cost + fees + dollars(pnl)), pnl=dollars(pnl),
    )  # fmt: skip


def life(wish: OrderIntent, pnl: float | None = None) -> list[AnyFact]:
    """An order from its intent to its end, filled once."""
    facts = [intended(wish), accepted(wish), matched(wish), confirmed(wish), closed(wish)]
    return facts if pnl is None else [*facts, settled(wish, pnl)]


def opened(number: int = 0) -> AnyFact:
    return events.MarketOpened(at=at(1), market=market(number))


def announced(agent: AgentId, state: events.AgentState = events.AgentState.STARTING, text: str = "") -> AnyFact:
    return events.AgentChanged(at=at(2), agent=agent, state=state, role="trader", text=text)


def note(number: int, severity: events.Severity = events.Severity.INFO) -> AnyFact:
    return events.SystemNoted(at=at(number), severity=severity, component="test", text=f"note {number}")


def window(agent: AgentId = MOMENTUM, number: int = 0) -> AnyFact:
    return events.WindowRecorded(
        at=at(80), agent=agent, market=market(number).id, verdict=events.Verdict.PASSED, reason="edge_too_small",
        value=0.01, threshold=0.03, shortfall=0.02, text="not enough", evaluations=7,
    )  # fmt: skip


def metrics(agent: AgentId | None, number: int, equity: float) -> AnyFact:
    return events.MetricsRecorded(
        at=at(number), agent=agent, trades=3, wins=2, pnl=dollars(1.25), fees=dollars(0.5), equity=dollars(equity),
        exposure=Money(0), win_rate=2 / 3, sharpe=None, drawdown=0.01, uptime=1.0,
    )  # fmt: skip


def one_of_each() -> list[AnyFact]:
    """Every kind of fact at least once, in an order a floor could have written."""
    wish, spoiled, refused = intent(number=1), intent(number=2), intent(number=3)
    floor = AgentId("boss")
    return [
        events.RunStarted(
            at=at(0), run="run-1", source="tape", mode="paper", capital=dollars(1000), seed=7, version="0.1",
            settings={"a": 1},
        ),
        announced(MOMENTUM),
        announced(MOMENTUM, events.AgentState.RUNNING),
        events.CapitalAllocated(at=at(3), agent=MOMENTUM, capital=dollars(333), moved=dollars(333)),
        opened(),
        events.SignalRefused(
            at=at(5), agent=MOMENTUM, market=market().id, rule="trade_max", value=25.0, limit=20.0, text="too much"
        ),
        *life(wish),
        intended(spoiled), accepted(spoiled), matched(spoiled), failed(spoiled), closed(spoiled),
        intended(refused), events.OrderRejected(at=at(20), agent=MOMENTUM, order=refused.id, text="not enough balance"),
        events.CancelRefused(at=at(21), agent=MOMENTUM, order=OrderId(refused.id), text="already gone"),
        events.MarketSettled(at=at(65), market=market().id, payout_up=Price(1_000_000)),
        settled(wish, 4.725070),
        window(),
        events.TradeAudited(at=at(81), agent=MOMENTUM, order=wish.id, passed=True, findings=[]),
        events.TradeAudited(at=at(82), agent=MOMENTUM, order=spoiled.id, passed=False, findings=["fee", "depth"]),
        events.BooksAudited(at=at(83), agent=MOMENTUM, desk_cash=dollars(1), recomputed_cash=dollars(1), passed=True),
        events.BooksAudited(at=at(84), agent=MOMENTUM, desk_cash=dollars(1), recomputed_cash=dollars(2), passed=False),
        metrics(MOMENTUM, 85, 337.72), metrics(None, 86, 1004.72),
        events.TradingPaused(
            at=at(87), agent=MOMENTUM, breaker="loss_streak", value=5.0, limit=5.0, text="5 losses", until=at(1000)
        ),
        events.TradingResumed(at=at(88), agent=MOMENTUM, breaker="loss_streak", text="cooled down"),
        events.TradingPaused(
            at=at(89), agent=None, breaker="daily_loss", value=0.11, limit=0.10, text="11 % lost today", until=None
        ),
        announced(floor, events.AgentState.CRASHED, "ZeroDivisionError"),
        note(91, events.Severity.CRITICAL),
        events.WalletMoved(at=at(92), kind=events.WalletMove.OPENED, market=None, amount=dollars(500)),
        events.WalletMoved(
            at=at(93), kind=events.WalletMove.REDEEMED, market=market().id, amount=dollars(10), transaction="0xabc"
        ),
        CashAccepted(at=at(94), amount=dollars(250), by="ann", text="a deposit"),
        SharesAccepted(
            at=at(95), market=market().id, outcome=Outcome.UP, shares=Shares(-5_000_000), by="ann", text="sold by hand"
        ),
        CostAccepted(
            at=at(96), agent=MOMENTUM, order=order_id(MOMENTUM, 1), cost=dollars(12), by="ann", text="a higher fee"
        ),
        events.RunEnded(at=at(99), reason="the tape is over", finished=True),
    ]  # fmt: skip
