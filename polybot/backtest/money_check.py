"""Does the money add up? Three ways to the same equity, each from facts the others do not use, compared exactly."""

import msgspec

from polybot.domain.events import (
    AnyFact,
    BooksAudited,
    FillConfirmed,
    FillFailed,
    FillMatched,
    MarketSettled,
    RunStarted,
    TradeSettled,
)
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import Money, Price, format_units
from polybot.risk.audit_fills import fill_cost, payout_due


class MoneyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Settled equity in millionths of a pUSD, open positions at cost.

    `pnl` is what the desks' settlements sum to; `pnl_by_fills` what confirmed fills and the venue's payouts give;
    `ledger_difference` how far the desks' cash was from the auditor's when last compared, None if it never was.
    """

    capital: Money
    pnl: Money
    pnl_by_fills: Money
    ledger_difference: Money | None

    @property
    def equity(self) -> Money:
        return Money(self.capital + self.pnl)

    @property
    def adds_up(self) -> bool:
        return self.pnl == self.pnl_by_fills and not self.ledger_difference

    @property
    def text(self) -> str:
        """One sentence, to the last digit: the sum if it holds, the difference if it does not."""
        total = f"{_digits(self.capital)} + ({_digits(self.pnl)}) = {_digits(self.equity)}"
        if self.adds_up:
            agreed = "ledger, fills and venue agree"
            return f"The money adds up: {total}; {agreed if self.ledger_difference is not None else _UNAUDITED}."
        parts = []
        if self.pnl != self.pnl_by_fills:
            off = _digits(self.pnl - self.pnl_by_fills)
            parts.append(f"fills and the venue's payouts give a P&L of {_digits(self.pnl_by_fills)}, {off} apart")
        if self.ledger_difference:
            parts.append(f"the desks' cash is {_digits(self.ledger_difference)} off what the fills give")
        return f"THE MONEY DOES NOT ADD UP: settlements say {total}; {'; '.join(parts)}."


_UNAUDITED = "fills and venue agree; the desks' ledgers were never compared"


class Bought(msgspec.Struct, kw_only=True):
    """One order's confirmed shares and what they cost, fees included."""

    market: MarketId
    outcome: Outcome
    shares: int = 0
    spent: int = 0


class MoneyBooks:
    """Folds the facts that move money."""

    def __init__(self) -> None:
        self._capital = Money(0)
        self._pnl = 0
        self._pending: dict[FillId, FillMatched] = {}
        self._bought: dict[OrderId, Bought] = {}
        self._payouts: dict[MarketId, Price] = {}
        self._ledger: dict[AgentId, int] = {}

    def apply(self, fact: AnyFact) -> None:
        match fact:
            case RunStarted():
                self._capital = fact.capital
            case FillMatched():
                self._pending[fact.fill] = fact
            case FillConfirmed():
                self._confirm(self._pending.pop(fact.fill, None))
            case FillFailed():
                self._pending.pop(fact.fill, None)
            case MarketSettled():
                self._payouts[fact.market] = fact.payout_up
            case TradeSettled():
                self._pnl += fact.pnl
            case BooksAudited():
                self._ledger[fact.agent] = fact.desk_cash - fact.recomputed_cash
            case _:
                pass

    def _confirm(self, fill: FillMatched | None) -> None:
        if fill is None:
            return
        bought = self._bought.setdefault(fill.order, Bought(market=fill.market, outcome=fill.outcome))
        bought.shares += fill.shares if fill.side is Side.BUY else -fill.shares
        bought.spent += fill_cost(fill) + fill.fee

    def check(self) -> MoneyCheck:
        by_fills = sum(
            payout_due(bought.outcome, self._payouts[bought.market], bought.shares) - bought.spent
            for bought in self._bought.values()
            if bought.market in self._payouts
        )
        # Differences of opposite sign must not hide each other: where any desk is off, show the largest.
        off = max(self._ledger.values(), key=abs, default=None)
        return MoneyCheck(
            capital=self._capital,
            pnl=Money(self._pnl),
            pnl_by_fills=Money(by_fills),
            ledger_difference=None if off is None else Money(off),
        )


def _digits(amount: int) -> str:
    return format_units(amount)
