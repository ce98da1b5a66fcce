"""What Prometheus scrapes: parsed by its own parser, figure by figure."""

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from polybot.domain.units import Millis
from polybot.floor.status import AccountStatus
from polybot.web.metrics import current_markets
from tests.web.fake_floor import PAUSE, START, FakeFloor, a_feed, a_market, an_agent, money


async def scrape(ask: ClientSession) -> dict[tuple[str, frozenset], float]:
    async with ask.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        families = list(text_string_to_metric_families(await answer.text()))
    samples = [sample for family in families for sample in family.samples]
    figures = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(figures) == len(samples), "Prometheus refuses a scrape in which a label set comes twice"
    return figures


def figure(figures, name: str, **labels: str):
    return figures.get((name, frozenset(labels.items())))


async def test_the_floors_figures_are_there(ask: ClientSession):
    figures = await scrape(ask)
    assert figure(figures, "polybot_fit") == 1
    assert figure(figures, "polybot_equity_dollars") == 996.785001
    assert figure(figures, "polybot_pnl_dollars") == -3.214999
    assert figure(figures, "polybot_exposure_dollars") == 20
    assert figure(figures, "polybot_exposure_limit_dollars") == 400
    assert figure(figures, "polybot_events_processed_total") == 412_345
    assert figure(figures, "polybot_windows_settled_total") == 5


async def test_each_agent_has_its_figures_and_its_state(ask: ClientSession):
    figures = await scrape(ask)
    assert figure(figures, "polybot_agent_trades_total", agent="momentum") == 11
    assert figure(figures, "polybot_agent_wins_total", agent="momentum") == 6
    assert figure(figures, "polybot_agent_pnl_dollars", agent="momentum") == -3.214999
    assert figure(figures, "polybot_agent_beat_age_seconds", agent="momentum") == 0.4
    assert figure(figures, "polybot_agent_beat_age_seconds", agent="auditor") is None
    assert figure(figures, "polybot_agent_state", agent="momentum", role="trader", state="running") == 1
    assert figure(figures, "polybot_agent_state", agent="momentum", role="trader", state="benched") == 0


async def test_books_and_stores_have_theirs(ask: ClientSession):
    figures = await scrape(ask)
    assert figure(figures, "polybot_book_age_seconds", series="BTC-15m", outcome="up") == 0.24
    assert figure(figures, "polybot_book_age_seconds", series="BTC-15m", outcome="down") is None
    assert figure(figures, "polybot_store_state", store="redis", state="down") == 1
    assert figure(figures, "polybot_store_lag_rows", store="redis") == 3


async def test_breakers_on_outside_dependencies_have_state_trips_and_failures(ask: ClientSession):
    figures = await scrape(ask)
    assert figure(figures, "polybot_circuit_state", circuit="redis", state="open") == 1
    assert figure(figures, "polybot_circuit_state", circuit="redis", state="closed") == 0
    assert figure(figures, "polybot_circuit_state", circuit="database", state="closed") == 1
    assert figure(figures, "polybot_circuit_trips_total", circuit="redis") == 1
    assert figure(figures, "polybot_circuit_failure_ratio", circuit="redis") == 0.25
    assert figure(figures, "polybot_circuit_failure_ratio", circuit="database") is None


async def test_the_loops_stalls_are_counted_and_absent_where_nobody_watches(ask: ClientSession, floor: FakeFloor):
    figures = await scrape(ask)
    assert figure(figures, "polybot_loop_longest_stall_seconds") == 0.031
    assert figure(figures, "polybot_loop_stalls_total") == 2
    assert figure(figures, "polybot_loop_stalled_seconds_total") == 0.75
    assert figure(figures, "polybot_loop_standstills_total") == 1
    floor.change(loop=None)
    assert figure(await scrape(ask), "polybot_loop_stalls_total") is None


async def test_live_data_has_its_figures_and_a_tape_none(ask: ClientSession, floor: FakeFloor):
    assert figure(await scrape(ask), "polybot_feed_up") is None
    floor.change(feed=a_feed(price_age_ms=45_000))
    figures = await scrape(ask)
    assert figure(figures, "polybot_feed_up") == 1
    assert figure(figures, "polybot_feed_silent_seconds") == 0.12
    assert figure(figures, "polybot_feed_oddities_total", kind="duplicates") == 6
    assert figure(figures, "polybot_reference_price_age_seconds", asset="BTC", source="rtds-chainlink") == 45
    assert figure(figures, "polybot_market_sockets_up") == 1
    assert figure(figures, "polybot_price_socket_up", socket="rtds") == 1
    assert figure(figures, "polybot_price_socket_oddities_total", socket="rtds", kind="repeated") == 7
    assert figure(figures, "polybot_book_checks_total", result="contradicted") == 1


async def test_data_that_stopped_is_no_feed_that_is_up(ask: ClientSession, floor: FakeFloor):
    floor.change(feed=a_feed(outage_since=START, silent_ms=None, sources=None, prices=()))
    figures = await scrape(ask)
    assert figure(figures, "polybot_feed_up") == 0
    assert figure(figures, "polybot_feed_silent_seconds") is None


async def test_a_pause_shows_and_twice_the_same_does_not_break_the_scrape(ask: ClientSession, floor: FakeFloor):
    assert figure(await scrape(ask), "polybot_paused", scope="floor", breaker="daily_loss") is None
    floor.change(fit=False, paused=(PAUSE, PAUSE))
    figures = await scrape(ask)
    assert figure(figures, "polybot_fit") == 0
    assert figure(figures, "polybot_paused", scope="floor", breaker="daily_loss") == 1
    assert figure(figures, "polybot_paused_count") == 2


async def test_two_windows_of_one_series_and_odd_names_do_not_break_the_scrape(ask: ClientSession, floor: FakeFloor):
    floor.change(markets=(a_market(), a_market(seconds_left=0.0)), agents=(an_agent('a"b\\c\nd'),))
    assert figure(await scrape(ask), "polybot_agent_trades_total", agent='a"b\\c\nd') == 11


def test_the_running_window_stands_for_its_series():
    over = a_market(seconds_left=0.0)
    running = a_market(window_end=Millis(over.window_end + 900_000), seconds_left=300.0)
    later = a_market(window_end=Millis(over.window_end + 1_800_000), seconds_left=1200.0)
    assert current_markets([later, over, running]) == [running]
    assert current_markets([over]) == [over]


async def test_a_tape_has_no_figures_of_a_venue(ask: ClientSession):
    assert not [name for name, _ in await scrape(ask) if name.startswith(("polybot_feed", "polybot_wallet"))]


async def test_a_live_floor_has_those_of_its_wallet(ask: ClientSession, floor: FakeFloor):
    account = AccountStatus(
        wallet=money("1500"), elsewhere=money("500"), unpaid=money("-6.5"), dust=money("0"), channel_open=True,
        heartbeat_armed=False, reading_age_s=9.5, troubles=("the order heartbeat does not beat",),
    )  # fmt: skip
    floor.change(account=account)
    figures = await scrape(ask)
    assert figure(figures, "polybot_wallet_dollars") == 1_500
    assert figure(figures, "polybot_wallet_elsewhere_dollars") == 500
    assert figure(figures, "polybot_wallet_unpaid_dollars") == -6.5
    assert figure(figures, "polybot_account_troubles") == 1
    assert figure(figures, "polybot_user_channel_open") == 1
    assert figure(figures, "polybot_order_heartbeat_armed") == 0
