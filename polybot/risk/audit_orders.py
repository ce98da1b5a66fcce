"""What the auditor remembers of an order and of an agent: plain data, its sums made from fills alone. Pure."""

import enum

import msgspec

from polybot.domain.events import FillMatched
from polybot.domain.ids import FillId
from polybot.domain.market import Market
from polybot.domain.order import CloseReason, OrderIntent
from polybot.risk.audit_fills import Asked, Totals, fill_cost

FINDINGS_PER_ORDER_MAX = 50
"""An order with more is wrong beyond doubt; further findings are dropped, so that a corrupt stream fills no memory."""


class AgentBooks(msgspec.Struct, kw_only=True):
    """One agent's money as the facts alone give it, in millionths of a pUSD.

    `cash` is allotments, confirmed fills and payouts; `equity` allotments and settled P&L; `exposure` what open orders
    may cost and unsettled fills did.
    """

    cash: int = 0
    equity: int = 0
    exposure: int = 0


class FillState(enum.StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    FAILED = "failed"


class FillRecord(msgspec.Struct, kw_only=True):
    """One fill. `cost` is what the shares cost without the fee."""

    shares: int
    cost: int
    fee: int
    state: FillState = FillState.PENDING

    @classmethod
    def of(cls, fact: FillMatched) -> "FillRecord":
        return cls(shares=fact.shares, cost=fill_cost(fact), fee=fact.fee)


class AuditedOrder(msgspec.Struct, kw_only=True):
    """An order under audit. `market` is its terms when intended; `findings_told` how many a verdict has told of.

    `live`: it was intended on a floor that trades at the real venue.
    """

    intent: OrderIntent
    market: Market | None
    live: bool = False
    accepted: bool = False
    closed: CloseReason | None = None
    settled: bool = False
    fills: dict[FillId, FillRecord] = {}
    findings: list[str] = []
    findings_told: int | None = None

    def add(self, text: str) -> None:
        if len(self.findings) < FINDINGS_PER_ORDER_MAX:
            self.findings.append(text)

    def total(self, *states: FillState) -> Totals:
        """The sum of the fills in any of `states`."""
        fills = [fill for fill in self.fills.values() if fill.state in states]
        return Totals(
            shares=sum(fill.shares for fill in fills),
            cost=sum(fill.cost for fill in fills),
            fees=sum(fill.fee for fill in fills),
        )

    @property
    def standing(self) -> Totals:
        """The fills that count: confirmed, or not yet known to have failed."""
        return self.total(FillState.PENDING, FillState.CONFIRMED)

    @property
    def asked(self) -> Asked:
        return Asked(intent=self.intent, by_money=self.live and self.intent.is_market_buy)

    @property
    def matched(self) -> Totals:
        """All that was ever matched, what failed later included: the venue does not give it back to the order."""
        return self.total(*FillState)

    @property
    def pending(self) -> int:
        return sum(fill.state is FillState.PENDING for fill in self.fills.values())

    @property
    def exposure(self) -> int:
        """Money this order has deployed: what it may still cost while open, and what its fills cost until settled."""
        if self.settled:
            return 0
        deployed = self.standing.spent
        if self.closed is None:
            deployed += max(self.intent.cost_max - self.matched.spent, 0)
        return deployed

    @property
    def is_final(self) -> bool:
        """Nothing more will be matched, and every fill is confirmed or failed."""
        return self.closed is not None and self.pending == 0

    @property
    def is_over(self) -> bool:
        """Final, and either settled or without a share to settle."""
        return self.is_final and (self.settled or self.total(FillState.CONFIRMED).shares == 0)
