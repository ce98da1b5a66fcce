"""Short honest stories as facts, for tests of what reads facts: the money in them adds up unless a test breaks it."""

from collections.abc import Callable
from typing import Any

import msgspec

from polybot.domain.book import BookState
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    Liquidity,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    RunEnded,
    RunStarted,
    SignalRefused,
    TradeSettled,
    Verdict,
    WindowRecorded,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import AgentId, ConditionId, FillId, MarketId, OrderId, SeriesId, fill_id, order_id
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent, Proof, TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Price, Shares, notional_floor, parse_units

START = Millis(1_790_586_000_000)
WINDOW_MS = 900_000
FEES = FeeSchedule(rate=70_000, rebate_rate=200_000)
MOMENTUM, REVERSION, SPIKE = AgentId("momentum"), AgentId("mean-reversion"), AgentId("volume-spike")


def money(text: str) -> Money:
    return Money(parse_units(text))


def price(text: str) -> Price:
    return Price(parse_units(text))


def shares(text: str) -> Shares:
    return Shares(parse_units(text))


def a_market(number: int = 0) -> Market:
    start = START + number * WINDOW_MS
    return Market(
        id=MarketId(f"btc-updown-15m-{start // 1000}"),
        condition_id=ConditionId(f"0x{number:04x}"),
        series=SeriesId("BTC-15m"),
        asset="BTC",
        window_start=Millis(start),
        window_end=Millis(start + WINDOW_MS),
        tick=price("0.01"),
        size_min=shares("5"),
        fees=FEES,
        taker_delay_ms=250,
        rule_set="chainlink-twap60-2026-08-07",
    )


class Story:
    """Facts in the order they happened. The clock moves a second per fact, so every fact has a time of its own."""

    def __init__(self, capital: str = "1000", *, start: int = START) -> None:
        self.facts: list[AnyFact] = []
        self.now = start
        self.capital = money(capital)
        self.funded = 0
        self.cash: dict[AgentId, int] = {}
        self.orders: dict[OrderId, OrderIntent] = {}
        self.exposures: dict[OrderId, int] = {}
        self.markets: dict[MarketId, Market] = {}
        self.fills: dict[FillId, FillMatched] = {}
        self.confirmed: dict[OrderId, list[FillMatched]] = {}
        self.pnl = 0
        self.run_started()

    def tell(self, make: Callable[..., AnyFact], **fields: Any) -> None:
        self.facts.append(make(at=Millis(self.now), **fields))
        self.now += 1_000

    def at(self, moment: int) -> "Story":
        """Move the clock on; it never goes back."""
        self.now = max(self.now, moment)
        return self

    def run_started(self) -> None:
        self.tell(
            RunStarted,
            run="test",
            source="tape",
            mode="paper",
            capital=self.capital,
            seed=7,
            version="0.1.0",
            settings={},
        )

    def agent(self, agent: AgentId, capital: str) -> None:
        self.cash[agent] = money(capital)
        self.funded += money(capital)
        self.tell(AgentChanged, agent=agent, state=AgentState.RUNNING, role="trader")
        self.tell(CapitalAllocated, agent=agent, capital=money(capital), moved=money(capital))

    def opened(self, market: Market) -> Market:
        self.markets[market.id] = market
        self.at(market.window_start)
        self.tell(MarketOpened, market=market)
        return market

    def intent(
        self,
        agent: AgentId,
        market: Market,
        *,
        limit: str = "0.55",
        size: str = "20",
        outcome: Outcome = Outcome.UP,
        ask: str | None = "0.54",
        tif: TimeInForce = TimeInForce.FAK,
        **changes: Any,
    ) -> OrderIntent:
        """An order the gate would have let through: its proof holds the exposures these facts give."""
        exposures = {o: amount for o, amount in self.exposures.items() if self.orders[o].agent == agent}
        best_ask = None if ask is None else price(ask)
        proof = Proof(
            event_seq=len(self.facts),
            book_state=BookState.VERIFIED,
            book_age_ms=120,
            book_age_ms_max=5_000,
            best_bid=price("0.40"),
            best_ask=best_ask,
            depth=shares("100") if best_ask is not None and best_ask <= price(limit) else shares("0"),
            fee_fingerprint=market.fees.fingerprint,
            rule_set=market.rule_set,
            capital_base=Money(min(self.capital, self.funded) + min(self.pnl, 0)),
            agent_exposure=Money(sum(exposures.values())),
            floor_exposure=Money(sum(self.exposures.values())),
        )
        number = 1 + sum(intent.agent == agent for intent in self.orders.values())
        intent = OrderIntent(
            id=order_id(agent, number),
            agent=agent,
            market=market.id,
            outcome=outcome,
            side=Side.BUY,
            limit=price(limit),
            shares=shares(size),
            time_in_force=tif,
            post_only=False,
            cost_max=market.fees.buy_cost_max(price(limit), shares(size)),
            decided_at=Millis(self.now),
            fair_value=price("0.62"),
            reason="the price has risen for a minute",
            inputs={"move": 0.02},
            proof=proof,
        )
        intent = msgspec.structs.replace(intent, **changes)
        self.orders[intent.id] = intent
        self.exposures[intent.id] = intent.cost_max
        self.tell(IntentRecorded, agent=agent, intent=intent)
        return intent

    def accepted(self, intent: OrderIntent) -> None:
        self.tell(OrderAccepted, agent=intent.agent, order=intent.id)

    def matched(
        self, intent: OrderIntent, size: str, at_price: str, *, liquidity: Liquidity = Liquidity.TAKER
    ) -> FillMatched:
        number = 1 + sum(fill.order == intent.id for fill in self.fills.values())
        schedule = self.markets[intent.market].fees
        fee = schedule.taker_fee(price(at_price), shares(size)) if liquidity is Liquidity.TAKER else Money(0)
        self.tell(
            FillMatched,
            agent=intent.agent,
            fill=fill_id(intent.id, number),
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=intent.side,
            price=price(at_price),
            shares=shares(size),
            fee=fee,
            liquidity=liquidity,
            available=shares("50"),
        )
        fill = self.facts[-1]
        assert isinstance(fill, FillMatched)
        self.fills[fill.fill] = fill
        return fill

    def closed(self, intent: OrderIntent, reason: CloseReason) -> None:
        self.tell(OrderClosed, agent=intent.agent, order=intent.id, reason=reason)
        fills = [fill for fill in self.fills.values() if fill.order == intent.id]
        self.exposures[intent.id] = sum(paid(fill) for fill in fills)

    def confirmed_fill(self, fill: FillMatched) -> None:
        self.tell(FillConfirmed, agent=fill.agent, fill=fill.fill, order=fill.order)
        self.confirmed.setdefault(fill.order, []).append(fill)
        self.cash[fill.agent] -= paid(fill)

    def failed_fill(self, fill: FillMatched) -> None:
        self.tell(FillFailed, agent=fill.agent, fill=fill.fill, order=fill.order, text="undone on chain")
        self.exposures[fill.order] -= paid(fill)

    def settled(self, market: Market, payout_up: str) -> None:
        """The venue's word, then every position of the market, paid out."""
        self.at(market.window_end)
        self.tell(MarketSettled, market=market.id, payout_up=price(payout_up))
        for intent in [i for i in self.orders.values() if i.market == market.id and self.confirmed.get(i.id)]:
            self._settle(intent, price(payout_up))

    def _settle(self, intent: OrderIntent, payout_up: Price) -> None:
        fills = self.confirmed.pop(intent.id)
        held, fees = sum(fill.shares for fill in fills), sum(fill.fee for fill in fills)
        cost = sum(paid(fill) for fill in fills) - fees
        payout = held * (payout_up if intent.outcome is Outcome.UP else UNIT - payout_up) // UNIT
        self.tell(
            TradeSettled,
            agent=intent.agent,
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            shares=Shares(held),
            cost=Money(cost),
            fees=Money(fees),
            payout=Money(payout),
            pnl=Money(payout - cost - fees),
        )
        self.exposures[intent.id] = 0
        self.cash[intent.agent] += payout
        self.pnl += payout - cost - fees

    def bought(self, agent: AgentId, market: Market, **order: Any) -> OrderIntent:
        """A whole taker order: sent, accepted, filled at one price, closed, confirmed."""
        at_price = order.pop("at_price", order.get("ask", "0.54"))
        intent = self.intent(agent, market, **order)
        self.accepted(intent)
        fill = self.matched(intent, order.get("size", "20"), at_price)
        self.closed(intent, CloseReason.FILLED)
        self.confirmed_fill(fill)
        return intent

    def window(self, agent: AgentId, market: Market, verdict: Verdict, reason: str, **fields: Any) -> None:
        self.tell(WindowRecorded, agent=agent, market=market.id, verdict=verdict, reason=reason, **fields)

    def refused(self, agent: AgentId, market: Market, rule: str, **fields: Any) -> None:
        self.tell(SignalRefused, agent=agent, market=market.id, rule=rule, **fields)

    def books_audited(self) -> None:
        for agent, cash in self.cash.items():
            self.tell(BooksAudited, agent=agent, desk_cash=Money(cash), recomputed_cash=Money(cash), passed=True)

    def ended(self) -> list[AnyFact]:
        self.tell(RunEnded, reason="the tape is at its end", finished=True)
        return self.facts


def paid(fill: FillMatched) -> int:
    """What a buyer paid for this fill, fee included."""
    return notional_floor(fill.price, fill.shares) + fill.fee
