"""Facts about a live account that only a person can tell: what he moved by hand, and what he lets an order cost."""

from polybot.domain.fact import AgentFact, Fact
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.units import Money, Shares


class CashAccepted(Fact, frozen=True, kw_only=True):
    """A person says that `amount` pUSD came into the wallet, or (negative) went, which the floor did not move.

    It is not the floor's: no desk's cash, capital or result changes. `text` is the reason, in the words of `by`.
    """

    amount: Money
    by: str
    text: str


class SharesAccepted(Fact, frozen=True, kw_only=True):
    """The same of shares of a market that the floor has a stake in."""

    market: MarketId
    outcome: Outcome
    shares: Shares
    by: str
    text: str


class CostAccepted(AgentFact, frozen=True, kw_only=True):
    """A person has the order's fills booked for up to `cost` in all, fees included, whatever was reserved for it."""

    order: OrderId
    cost: Money
    by: str
    text: str
