"""The rehearsal's traders order on the same tick, once a round."""

from polybot.desk.desk import AgentPlan
from polybot.desk.sizing import Execution
from polybot.domain.events import IntentRecorded
from polybot.domain.ids import AgentId
from polybot.rehearsal.punctual import EverySo, Punctual
from polybot.risk.limits import Limits
from tests.builders import Floor, book, listed, one_sided
from tests.facts import START

MARKET = one_sided()
ROUND_MS = 45_000


def a_punctual(name: str) -> AgentPlan:
    strategy = Punctual(EverySo(seconds=ROUND_MS // 1000))
    return AgentPlan(
        agent=AgentId(name), strategy=strategy, execution=Execution(orders_per_window=9), series=frozenset()
    )


def test_all_of_them_order_at_the_first_look_of_a_round_and_not_again_in_it():
    floor = Floor(a_punctual("one"), a_punctual("two"), limits=Limits(floor_capital_share=1_000_000))
    begins = [(START // ROUND_MS + turn) * ROUND_MS - START for turn in (2, 3)]
    looks = [begin + later for begin in begins for later in (1_000, 9_000, 20_000)]
    floor.play(listed(MARKET), *(book(MARKET, look) for look in looks))
    orders = [(fact.agent, fact.at - START) for fact in floor.facts if isinstance(fact, IntentRecorded)]
    assert sorted(orders) == sorted((name, begin + 1_000) for name in ("one", "two") for begin in begins)
