"""A floor's room beside a small model of the chain: fills are mined, sets merged, wins redeemed, before or after the
room is told. What is to be claimed is planned by the real planner (venue/polymarket/account_settlement.py)."""

from collections.abc import Iterable, Iterator

import msgspec

from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    AnyFact,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    Journaled,
    MarketOpened,
    MarketSettled,
    RunStarted,
)
from polybot.domain.ids import AgentId, ConditionId, MarketId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.order import CloseReason
from polybot.domain.units import DAY_MS, UNIT, Millis, Money, Price, Shares
from polybot.floor.board_state import BoardState
from polybot.live_accept import Acceptance, OpenItem, acceptances, open_items, refusal
from polybot.live_books import books_of, wallet_moves, wallet_opened
from polybot.recovery import FloorMemory, decode_memory, encode_memory, new_memory, recover
from polybot.risk.limits import Limits
from polybot.venue.matching import new_simulator_state
from polybot.venue.polymarket.account_compare import compare
from polybot.venue.polymarket.account_settlement import Claim, ClaimKind, Settled, plan_settlement
from polybot.venue.polymarket.account_values import AccountReading, Balance, Books, Compared, Difference, PositionSeen
from tests.builders import a_plan
from tests.facts import START, Story, a_market, money, paid

AGENTS = (AgentId("momentum"), AgentId("mean-reversion"))
CAPITAL, WALLET = money("1000"), money("1500")


def with_tokens(number: int) -> Market:
    return msgspec.structs.replace(a_market(number), tokens=(TokenId(f"{number}1"), TokenId(f"{number}2")))


class Chain:
    """One wallet: its pUSD, its shares by market, and what each market pays (None: not resolved)."""

    def __init__(self, pusd: int) -> None:
        self.pusd = pusd
        self.shares: dict[MarketId, list[int]] = {}
        self.payouts: dict[MarketId, int] = {}

    def mine(self, fill: FillMatched) -> None:
        self.pusd -= paid(fill)
        self.shares.setdefault(fill.market, [0, 0])[fill.outcome] += fill.shares

    def positions(self, market: Market) -> list[PositionSeen]:
        """As the data service lists them: values with four decimals."""
        assert market.tokens is not None
        payout = self.payouts.get(market.id)
        prices = (UNIT // 2, UNIT // 2) if payout is None else (payout, UNIT - payout)
        return [
            PositionSeen(
                token=market.tokens[outcome],
                condition=market.condition_id,
                shares=Shares(held),
                outcome=outcome,
                redeemable=payout is not None,
                mergeable=payout is None,
                value=Money(held * prices[outcome] // UNIT // 100 * 100),
            )
            for outcome, held in enumerate(self.shares.get(market.id, [0, 0]))
        ]

    def carry_out(self, claim: Claim, market: MarketId) -> None:
        held = self.shares[market]
        if claim.kind is ClaimKind.MERGE:
            self.shares[market] = [held[0] - claim.shares[0], held[1] - claim.shares[1]]
            self.pusd += claim.shares[0]
        else:
            payout = self.payouts[market]
            self.shares[market] = [0, 0]
            self.pusd += held[0] * payout // UNIT + held[1] * (UNIT - payout) // UNIT


class Wallet:
    """The room, told by a story; the chain; fills not yet final, and claims that nobody was told of."""

    def __init__(self, markets: int = 2, mode: str = "live") -> None:
        self.plans = [a_plan(agent) for agent in AGENTS]
        self.room = TradingRoom(self.plans, Limits())
        self.chain = Chain(WALLET)
        self.story, self.facts, self.read = Story(), list[AnyFact](), 1  # its own start is a paper run's
        self.markets = [with_tokens(number) for number in range(markets)]
        self.fills: list[FillMatched] = []
        self.mined: set[str] = set()
        self.claims: list[Claim] = []
        self.mode = mode
        self.is_parted = False
        """Something was moved by hand and not accepted: the two sides may differ."""
        self._begin()

    def _begin(self) -> None:
        start = RunStarted(at=START, run="r", source="polymarket", mode=self.mode, capital=CAPITAL, seed=1, version="1")
        self.tell(start)
        for agent in AGENTS:
            part = Money(CAPITAL // 2)
            self.tell(CapitalAllocated(at=START, agent=agent, capital=part, moved=part))
        for market in self.markets:
            self.story.markets[market.id] = market
            self.tell(MarketOpened(at=START, market=market))
        opened = wallet_opened(self.room, lambda intent: intent.id, self.reading(self.books()), START)
        assert opened is not None
        self.tell(opened)

    def tell(self, fact: AnyFact) -> None:
        self.facts.append(fact)
        self.room.apply(fact)

    def _read_on(self) -> None:
        for fact in self.story.facts[self.read :]:
            self.tell(fact)
        self.read = len(self.story.facts)

    # -- the two sides ------------------------------------------------------------------------------------------------

    def books(self) -> Books:
        return books_of(self.room, lambda intent: intent.id)

    def reading(self, books: Books) -> AccountReading:
        held = {
            holding.token: Shares(self.chain.shares.get(holding.market, [0, 0])[int(holding.token[-1]) - 1])
            for holding in books.holdings
        }
        collateral = Balance(Money(self.chain.pusd), {})
        return AccountReading(at=START, collateral=collateral, held=held, orders=(), trades=())

    def differences(self) -> list[Difference]:
        books = self.books()
        return compare(books, self.reading(books))

    def items(self) -> list[OpenItem]:
        books = self.books()
        compared = Compared(books=books, reading=self.reading(books), began_s=0.0)
        return open_items(compare(books, compared.reading), compared, {}, self.room.state.markets)

    def accept(self, amounts: dict[str, int] | None = None) -> list[Acceptance]:
        """What a person types; None: every difference that is exact."""
        items = self.items()
        typed = {i.seen.name: i.seen.least for i in items if i.seen.is_exact} if amounts is None else amounts
        assert not typed or refusal(typed, "by hand", items) is None
        facts = acceptances(typed, items, at=self.now(), by="ann", reason="by hand")
        for fact in facts:
            self.tell(fact)
        return facts

    # -- what happens -------------------------------------------------------------------------------------------------

    def buy(self, agent: AgentId, market: Market, outcome: Outcome, size: str, price: str = "0.54") -> FillMatched:
        intent = self.story.intent(agent, market, outcome=outcome, size=size, limit=price, ask=price)
        self.story.accepted(intent)
        fill = self.story.matched(intent, size, price)
        self.story.closed(intent, CloseReason.FILLED)
        self._read_on()
        self.fills.append(fill)
        return fill

    def mine(self, fill: FillMatched) -> None:
        if fill.fill not in self.mined:
            self.mined.add(fill.fill)
            self.chain.mine(fill)

    def confirm(self, fill: FillMatched) -> None:
        self.mine(fill)
        self.fills.remove(fill)
        self._say(FillConfirmed(at=self.now(), agent=fill.agent, fill=fill.fill, order=fill.order))

    def fail(self, fill: FillMatched) -> None:
        self.fills.remove(fill)
        self._say(FillFailed(at=self.now(), agent=fill.agent, fill=fill.fill, order=fill.order, text="reverted"))

    def bought(self, agent: AgentId, market: Market, outcome: Outcome, size: str) -> None:
        self.confirm(self.buy(agent, market, outcome, size))

    def resolve(self, market: Market, payout_up: int) -> None:
        """On chain: the window is over, and the floor has written something since."""
        self.story.at(market.window_end)
        self._say(MarketOpened(at=self.now(), market=self.markets[0]))
        self.chain.payouts[market.id] = payout_up

    def settle(self, market: Market) -> None:
        """The floor hears of it, and settles what is final."""
        if market.id not in self.room.state.payouts:
            self._say(MarketSettled(at=self.now(), market=market.id, payout_up=Price(self.chain.payouts[market.id])))
        for desk in self.room.desks.values():
            for settled in desk.settlements(self.now()):
                self._say(settled)
                assert self.is_parted or self.differences() == []

    def claim(self, market: Market) -> Claim | None:
        """Carried out on chain, and not told."""
        claim = next(iter(plan_settlement(self.chain.positions(market)).claims), None)
        if claim is not None:
            self.chain.carry_out(claim, market.id)
            self.claims.append(claim)
        return claim

    def tell_claims(self) -> None:
        settled = Settled(at=self.now(), transaction="0xfeed", claims=tuple(self.claims))
        self.claims = []
        for move in wallet_moves(self.room, settled):
            self.tell(move)

    def gift(self, amount: str) -> None:
        """Shares of a market that this floor has nothing in are redeemed."""
        worth = money(amount)
        self.chain.pusd += worth
        condition = ConditionId("0xelse")
        claim = Claim(
            kind=ClaimKind.REDEEM, condition=condition, version="v1", shares=(Shares(worth), Shares(0)), worth=worth
        )
        self.claims.append(claim)
        self.tell_claims()

    def restart(self) -> None:
        """From a checkpoint of this moment."""
        now = FloorMemory(room=self.room.state, venue=new_simulator_state(CAPITAL), board=BoardState())
        self.room = recover(decode_memory(encode_memory(now)), (), (), self.plans, Limits()).room

    def recovered(self, journal: Iterable[Journaled]) -> TradingRoom:
        """From a journal alone."""
        return recover(new_memory(CAPITAL), journal, (), self.plans, Limits()).room

    def journal(self) -> Iterator[Journaled]:
        return (Journaled(seq=seq, position=0, fact=fact) for seq, fact in enumerate(self.facts, start=1))

    def a_day_later(self) -> None:
        """Markets are forgotten, and a new one is opened."""
        self.story.at(self.now() + 2 * DAY_MS)
        while due := self.room.due(self.now()):
            for fact in due:
                self.tell(fact)
        later = msgspec.structs.replace(
            self.markets[0], id=MarketId("later"), window_start=self.now(), window_end=Millis(self.now() + 900_000)
        )
        self.tell(MarketOpened(at=self.now(), market=later))

    def now(self) -> Millis:
        return Millis(self.story.now)

    def _say(self, fact: AnyFact) -> None:
        self.tell(fact)
        self.story.now += 1_000
