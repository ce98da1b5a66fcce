"""The agents of a hunt: the shipped strategies, made to trade as often as the windows allow. Density finds bugs."""

import msgspec

from polybot.desk.desk import AgentPlan
from polybot.desk.sizing import Execution
from polybot.domain.ids import AgentId
from polybot.domain.units import Money
from polybot.strategies.registry import find_strategies

AGENTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "mean_reversion": (
        {
            "window_s": 60,
            "distance_min": 1.0,
            "deviation_min": 0.004,
            "pull": 0.6,
            "open_s_min": 60,
            "left_s_min": 150,
            "price_min": 0.05,
            "price_max": 0.90,
        },
        {"style": "maker", "edge_min": 0, "orders_per_window": 3, "rest_s": 130},
    ),
    "momentum": (
        {"lookback_s": 30, "move_min": 0.03, "carry": 0.8, "open_s_min": 30, "left_s_min": 30, "price_max": 0.95},
        {
            "style": "taker",
            "time_in_force": "FAK",
            "edge_min": 0,
            "slippage_ticks": 1,
            "orders_per_window": 3,
        },
    ),
    "volume_spike": (
        {
            "short_s": 10,
            "long_s": 90,
            "ratio_min": 1.5,
            "balance_min": 0.3,
            "carry": 0.1,
            "left_s_min": 20,
            "price_max": 0.95,
        },
        {
            "style": "taker",
            "time_in_force": "FOK",
            "edge_min": 0,
            "slippage_ticks": 2,
            "orders_per_window": 3,
        },
    ),
}


def hunted_plans(order_cost_max: Money) -> list[AgentPlan]:
    """One agent for each shipped strategy, new ones at each call; no order costs more than `order_cost_max`."""
    strategies = find_strategies(None)
    return [
        AgentPlan(
            agent=AgentId(name),
            strategy=strategies[name].create(parameters),
            execution=_execution({**execution, "order_cost_max": order_cost_max}),
        )
        for name, (parameters, execution) in AGENTS.items()
    ]


def _execution(terms: dict[str, object]) -> Execution:
    return msgspec.convert(terms, Execution)
