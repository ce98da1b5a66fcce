"""Random small worlds: two overlapping markets, random books and trades, agents that want this or that."""

from random import Random
from typing import Any

from hypothesis import strategies as st

from polybot.desk.desk import AgentPlan
from polybot.desk.sizing import Style
from polybot.domain.events import MarketEvent
from polybot.domain.market import Outcome, Side
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Millis, Price
from polybot.risk.limits import Limits
from polybot.strategies.base import MarketView
from polybot.venue.fill_models import VenueModel
from tests.builders import Floor, Ladder, a_plan, book, listed, one_sided, resolved, trade
from tests.facts import START

AGENTS = ("brave", "patient", "quick", "fickle", "late")
seeds = st.integers(0, 2**32 - 1)


def moody(name: str, seed: int) -> AgentPlan:
    """An agent whose opinions are drawn from what it sees alone, so that a replay gives the same ones."""

    def script(view: MarketView) -> Signal | None:
        chance = Random(f"{seed}/{name}/{view.market.id}/{view.now}")
        if chance.random() < 0.5:
            return view.passed("no_mood", chance.random(), 1.0)
        fair = Price(chance.randrange(300_000, UNIT))
        return Signal(outcome=chance.choice(list(Outcome)), fair_value=fair, reason="a mood")

    chance = Random(f"{seed}/{name}")
    style = Style.MAKER if name == "patient" else chance.choice(list(Style))
    return a_plan(name, script, style=style, orders_per_window=chance.choice([1, 3, 20]), rest_s=130)


def a_tape(seed: int, steps: int) -> list[MarketEvent]:
    """Listings, books, trades and resolutions in the order of time, with quiet at the end for everything to settle."""
    chance = Random(seed)
    markets = [one_sided(0), one_sided(1, window_start=Millis(START + 450_000))]
    tape: list[MarketEvent] = [listed(market) for market in markets]
    for _ in range(steps):
        market = chance.choice(markets)
        at = chance.randrange(0, market.window_end - market.window_start)
        if chance.random() < 0.25:
            side, outcome = chance.choice(list(Side)), chance.choice(list(Outcome))
            tape.append(
                trade(market, at, side, outcome, f"0.{chance.randrange(10, 95)}", f"{chance.randrange(1, 200)}")
            )
            continue
        bid = chance.randrange(10, 90)
        asks = _ladder(chance, bid + chance.randrange(1, 4), 1)
        tape.append(book(market, at, _ladder(chance, bid, -1), asks))
    tape += [resolved(market, chance.choice(["0", "1", "0.5"]), chance.randrange(1, 300_000)) for market in markets]
    tape += [listed(one_sided(9), START + 4_000_000), listed(one_sided(9), START + 5_000_000)]
    return sorted(tape, key=lambda event: event.received)


def _ladder(chance: Random, best: int, step: int) -> Ladder:
    prices = (best + step * number for number in range(chance.randrange(0 if chance.random() < 0.1 else 1, 4)))
    return [(f"0.{cents:02d}", f"{chance.randrange(1, 60)}") for cents in prices if 1 <= cents <= 99]


def a_floor(seed: int, agents: int = 5, **limits: Any) -> Floor:
    """A floor on which a third of all fills fail on chain, and confirmations may come after the window."""
    chance = Random(f"{seed}/model")
    model = VenueModel(
        seed=seed,
        latency_median_ms=chance.choice([1, 84, 2_000]),
        confirm_ms=chance.choice([1, 3_000, 60_000]),
        ghost_fill_share=chance.choice([0.0, 0.35]),
    )
    plans = [moody(name, seed) for name in AGENTS[:agents]]
    return Floor(*plans, limits=Limits(**limits), model=model)
