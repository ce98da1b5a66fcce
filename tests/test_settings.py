"""Settings: what is wrong is named, where it can be set is named, and nothing unknown is passed over."""

from decimal import Decimal
from pathlib import Path

import pytest

from polybot.domain.units import UNIT
from polybot.paths import configs_dir
from polybot.risk.limits import Limits
from polybot.settings import Settings, SettingsError, load_plans, load_settings
from polybot.venue.fill_models import VenueModel

AGENT = 'strategy = "momentum"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An owner's own config folder, with one agent and an empty floor.toml."""
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "mine.toml").write_text(AGENT)
    (tmp_path / "floor.toml").write_text("")
    monkeypatch.setenv("POLYBOT_CONFIG_DIR", str(tmp_path))
    return tmp_path


def refused() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def plan_refused(folder: Path, text: str, name: str = "mine") -> str:
    (folder / "strategies" / f"{name}.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_plans(load_settings())
    return str(caught.value)


class TestDefaults:
    def test_the_shipped_files_are_the_numbers_of_the_brief(self):
        settings = load_settings()
        assert settings.capital_money == 1000 * UNIT
        assert settings.limits.limits() == Limits()
        assert settings.venue.model(1) == VenueModel()

    def test_files_and_code_say_the_same(self, folder):
        assert load_settings().limits == Settings().limits
        assert load_settings(config_dir=configs_dir()).venue == load_settings().venue

    def test_three_agents_are_shipped(self):
        assert [plan.agent for plan in load_plans(load_settings())] == ["mean_reversion", "momentum", "volume_spike"]


class TestTheEnvironment:
    def test_beats_the_file_which_beats_the_default(self, folder, monkeypatch):
        assert load_settings().seed == 1
        (folder / "floor.toml").write_text("seed = 2\ncapital = '500'")
        assert load_settings().seed == 2
        monkeypatch.setenv("POLYBOT_SEED", "3")
        assert (load_settings().seed, load_settings().capital) == (3, Decimal(500))

    def test_an_argument_beats_them_all_and_none_is_no_argument(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_SEED", "3")
        assert (load_settings(seed=4).seed, load_settings(seed=None).seed) == (4, 3)

    def test_nested_limits_are_set_one_by_one(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_LIMITS__ORDER_PERCENT", "1.5")
        monkeypatch.setenv("POLYBOT_LIMITS__LOSS_STREAK", "3")
        limits = load_settings().limits.limits()
        assert (limits.order_capital_share, limits.loss_streak_max, limits.agent_capital_share) == (15_000, 3, 100_000)

    def test_an_empty_value_is_as_good_as_none(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_DATABASE_URL", "")
        monkeypatch.setenv("POLYBOT_SEED", "")
        settings = load_settings()
        assert (settings.database_url, settings.seed) == (None, 1)

    @pytest.mark.parametrize(
        ("wrong", "meant"),
        [
            ("POLYBOT_CAPTIAL", "POLYBOT_CAPITAL"),
            ("POLYBOT_LIMITS__ORDER_PERCENTS", "POLYBOT_LIMITS__ORDER_PERCENT"),
            ("POLYBOT_VENUE__LATENCY_MEDIAN", "POLYBOT_VENUE__LATENCY_MEDIAN_MS"),
        ],
    )
    def test_an_unknown_name_is_refused_with_what_was_meant(self, monkeypatch, wrong, meant):
        monkeypatch.setenv(wrong, "1")
        assert f"{wrong} is no setting of PolyBot; did you mean {meant}?" in refused()

    def test_a_name_like_no_other_is_refused_without_a_guess(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_XYZZY", "1")
        assert "did you mean" not in refused()


class TestBadValues:
    def test_are_named_as_variable_and_as_key_with_what_was_given(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_LIMITS__ORDER_PERCENT", "200")
        text = refused()
        assert "POLYBOT_LIMITS__ORDER_PERCENT (or limits.order_percent in configs/floor.toml)" in text
        assert "less than or equal to 100" in text
        assert "'200'" in text

    def test_are_all_named_at_once(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_WEB_PORT", "http")
        monkeypatch.setenv("POLYBOT_MODE", "real")
        text = refused()
        assert "POLYBOT_WEB_PORT" in text
        assert "POLYBOT_MODE" in text

    @pytest.mark.parametrize(
        ("given", "instead"),
        [
            ("floor.example", '["floor.example"]'),
            ("polybot, floor.example", '["polybot","floor.example"]'),
            ("['polybot']", '["polybot"]'),
            ('["polybot", 7]', '["polybot","7"]'),
            ('["https://floor.example:8080/page"]', '["floor.example"]'),
            ('["floor.example:8080"]', '["floor.example"]'),
            ("{}", '["polybot"]'),
        ],
    )
    def test_host_names_in_another_form_are_refused_with_what_to_write(self, monkeypatch, given, instead):
        monkeypatch.setenv("POLYBOT_WEB_HOSTS", given)
        text = refused()
        assert text.startswith("POLYBOT_WEB_HOSTS (or web_hosts in configs/floor.toml): ")
        assert f"write POLYBOT_WEB_HOSTS='{instead}'" in text

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("BTC-15m", """write POLYBOT_FEED__SERIES='["BTC-15m"]'"""),
            ("BTC-15m,ETH-5m", """write POLYBOT_FEED__SERIES='["BTC-15m","ETH-5m"]'"""),
            ('["BTC-10m"]', "5m, 15m or 4h"),
            ('["btc-15m"]', "in capitals"),
            ("[]", """as in POLYBOT_FEED__SERIES='["BTC-15m","ETH-15m"]'"""),
        ],
    )
    def test_series_in_another_form_are_refused_with_what_to_write(self, monkeypatch, given, said):
        monkeypatch.setenv("POLYBOT_FEED__SERIES", given)
        text = refused()
        assert text.startswith("POLYBOT_FEED__SERIES (or feed.series in configs/floor.toml): ")
        assert said in text

    def test_series_as_they_are_to_be_written_are_taken(self, monkeypatch, folder):
        monkeypatch.setenv("POLYBOT_FEED__SERIES", '["BTC-5m", "SOL-4h"]')
        assert load_settings().feed.series == ["BTC-5m", "SOL-4h"]
        monkeypatch.delenv("POLYBOT_FEED__SERIES")
        (folder / "floor.toml").write_text('[feed]\nseries = ["ETH-15m"]')
        assert load_settings().feed.series == ["ETH-15m"]

    def test_an_exchange_is_named_by_its_address_alone_because_its_hosts_are_paths_below_it(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_EXCHANGE", "http://127.0.0.1:8085/clob")
        assert "without a path, as in http://127.0.0.1:8085" in refused()
        monkeypatch.setenv("POLYBOT_EXCHANGE", "http://127.0.0.1:8085/")
        assert load_settings().exchange == "http://127.0.0.1:8085/"

    def test_what_is_to_be_written_is_taken(self, monkeypatch, folder):
        monkeypatch.setenv("POLYBOT_WEB_HOSTS", '["polybot", "floor.example", "[::1]"]')
        assert load_settings().web_hosts == ["polybot", "floor.example", "[::1]"]
        monkeypatch.delenv("POLYBOT_WEB_HOSTS")
        (folder / "floor.toml").write_text('web_hosts = ["floor.example"]')
        assert load_settings().web_hosts == ["floor.example"]

    def test_a_whole_group_in_one_variable_is_refused_with_how_to_set_one(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_LIMITS", "two")
        assert "one by one: POLYBOT_LIMITS__ORDER_PERCENT=2" in refused()

    @pytest.mark.parametrize(
        ("name", "value"), [("CAPITAL", "nan"), ("SPEED", "nan"), ("CAPITAL", "0"), ("CAPITAL", "-5")]
    )
    def test_numbers_that_are_none_are_refused(self, monkeypatch, name, value):
        monkeypatch.setenv(f"POLYBOT_{name}", value)
        assert f"POLYBOT_{name}" in refused()

    def test_an_unknown_key_in_the_file_is_refused_by_name(self, folder):
        (folder / "floor.toml").write_text("[limits]\norder_precent = 2")
        assert "limits.order_precent" in refused()

    def test_a_file_that_is_not_toml_is_named_with_its_place(self, folder):
        (folder / "floor.toml").write_text("capital = = 3")
        assert "floor.toml is not TOML" in refused()
        assert "line 1" in refused()

    def test_limits_that_contradict_each_other_are_refused_at_the_start(self, monkeypatch):
        monkeypatch.setenv("POLYBOT_LIMITS__ORDER_PERCENT", "50")
        assert "one order <= one agent <= the whole floor" in refused()


class TestAgents:
    def test_are_named_by_their_files_and_can_share_a_strategy(self, folder):
        (folder / "strategies" / "slow.toml").write_text(AGENT + "[parameters]\nlookback_s = 300\n")
        plans = load_plans(load_settings())
        assert [(plan.agent, plan.strategy.name) for plan in plans] == [("mine", "momentum"), ("slow", "momentum")]
        assert plans[1].strategy.parameters.lookback_s == 300

    def test_can_be_switched_off(self, folder):
        (folder / "strategies" / "off.toml").write_text(AGENT + "enabled = false\n")
        assert [plan.agent for plan in load_plans(load_settings())] == ["mine"]

    def test_can_be_kept_to_some_series(self, folder):
        (folder / "strategies" / "mine.toml").write_text('series = ["BTC-15m"]\n' + AGENT)
        assert load_plans(load_settings())[0].series == {"BTC-15m"}

    def test_take_money_as_text_or_as_a_number(self, folder):
        (folder / "strategies" / "mine.toml").write_text(
            AGENT + '[execution]\nedge_min = "0.005"\norder_cost_max = 12.5\n'
        )
        execution = load_plans(load_settings())[0].execution
        assert (execution.edge_min, execution.order_cost_max) == (5_000, 12_500_000)

    def test_there_must_be_one(self, folder):
        assert "no agent is configured" in plan_refused(folder, AGENT + "enabled = false\n")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("strategy = 'momentun'", "no strategy 'momentun'; there are mean_reversion, momentum, volume_spike"),
            ("", "missing required field `strategy`"),
            (AGENT + "leverage = 10", "`leverage`"),
            (AGENT + "[parameters]\nlookback_s = 0", "`$.lookback_s`"),
            (AGENT + "[parameters]\nlook_back = 5", "`look_back`"),
            (AGENT + "[execution]\nrest = 5", "`rest`"),
            (AGENT + "[execution]\norders_per_window = 'two'", "`$.orders_per_window`"),
            (AGENT + "[execution]\nedge_min = 'some'", "execution.edge_min: 'some' is not a decimal number"),
            (AGENT + "[execution]\nrest_s = 5", "rest_s is at least 125"),
            ("strategy = = 3", "line 1"),
        ],
    )
    def test_a_mistake_is_told_with_the_files_path_and_the_key(self, folder, text, words):
        told = plan_refused(folder, text)
        assert str(folder / "strategies" / "mine.toml") in told
        assert words in told

    @pytest.mark.parametrize("name", ["boss", "auditor", "monitor"])
    def test_may_not_take_the_name_of_one_of_the_floors_own(self, folder, name):
        assert "rename the file" in plan_refused(folder, AGENT, name)

    def test_a_folder_of_own_strategies_that_is_not_there_is_told(self, folder):
        with pytest.raises(Exception, match="does not exist"):
            load_plans(load_settings(strategies_dir=folder / "nowhere"))
