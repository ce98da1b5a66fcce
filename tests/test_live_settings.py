"""Real money is hard to switch on, and secrets stay where they are."""

import json
import stat
from pathlib import Path

import pytest

from polybot.domain.units import UNIT
from polybot.live_account import account_hosts, account_keys, hosts_with_node
from polybot.live_settings import ACKNOWLEDGEMENT, SECRETS, SecretUnreadable, forget_secrets, secret_of, secret_values
from polybot.settings import Settings, SettingsError, load_settings, public_settings, require_startable

KEY = "0x" + "5e" * 32
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Everything that live mode wants; take away what the test is about."""
    given = {"MODE": "live", "SOURCE": "polymarket", "PRIVATE_KEY": KEY, "LIVE_ACKNOWLEDGEMENT": ACKNOWLEDGEMENT}
    for name, value in given.items():
        monkeypatch.setenv(f"POLYBOT_{name}", value)
    return monkeypatch


def refused() -> str:
    with pytest.raises(SettingsError) as caught:
        require_startable(load_settings())
    return str(caught.value)


def key_file(folder: Path, content: str = KEY, rights: int = 0o600) -> str:
    file = folder / "key"
    file.write_text(content)
    file.chmod(rights)
    return str(file)


class TestSwitchingOn:
    def test_with_everything_set_it_may_start(self, live):
        require_startable(load_settings())

    def test_paper_money_needs_none_of_it(self):
        require_startable(load_settings())

    def test_everything_that_is_missing_is_named_at_once(self, live):
        for name in ("SOURCE", "PRIVATE_KEY", "LIVE_ACKNOWLEDGEMENT"):
            live.delenv(f"POLYBOT_{name}")
        text = refused()
        assert "POLYBOT_SOURCE=polymarket" in text
        assert "POLYBOT_PRIVATE_KEY_FILE" in text
        assert f"must be exactly: {ACKNOWLEDGEMENT}" in text

    @pytest.mark.parametrize("said", ["yes", ACKNOWLEDGEMENT.lower(), f"{ACKNOWLEDGEMENT}."])
    def test_the_acknowledgement_is_that_sentence_or_none(self, live, said):
        live.setenv("POLYBOT_LIVE_ACKNOWLEDGEMENT", said)
        assert ACKNOWLEDGEMENT in refused()

    def test_settings_that_only_stop_can_be_read_without_any_of_it(self, live):
        live.delenv("POLYBOT_LIVE_ACKNOWLEDGEMENT")
        assert load_settings().mode == "live"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PRIVATE_KEY", "0x1234"),
            ("WALLET", "my wallet"),
            ("CONTROL_TOKEN", "tiny"),
            ("RELAYER_KEY", "without-its-address"),
            ("RPC_URL", "wss://node.example/some-key"),
            ("API_KEY", "without-the-other-two"),
        ],
    )
    def test_what_cannot_be_right_is_named_and_not_shown(self, live, name, value):
        live.setenv(f"POLYBOT_{name}", value)
        text = refused()
        assert f"POLYBOT_{name}" in text or "POLYBOT_API_SECRET" in text
        assert value not in text or name == "WALLET"

    def test_live_limits_have_the_ramp_and_paper_ones_have_not(self, live):
        ramp = load_settings().floor_limits.ramp
        assert ramp is not None
        assert ramp.order_cost_first == 5 * UNIT
        live.setenv("POLYBOT_MODE", "paper")
        assert load_settings().floor_limits.ramp is None


class TestSecrets:
    def test_a_secret_comes_from_a_file_as_well(self, live, tmp_path):
        live.delenv("POLYBOT_PRIVATE_KEY")
        live.setenv("POLYBOT_PRIVATE_KEY_FILE", key_file(tmp_path, f"{KEY}\n"))
        assert secret_of(load_settings(), "private_key") == KEY
        require_startable(load_settings())

    @pytest.mark.parametrize("rights", [0o644, 0o640, 0o604, 0o660])
    def test_a_file_that_others_may_read_is_refused_with_the_remedy(self, live, tmp_path, rights):
        live.delenv("POLYBOT_PRIVATE_KEY")
        live.setenv("POLYBOT_PRIVATE_KEY_FILE", key_file(tmp_path, rights=rights))
        assert f"chmod 600 {tmp_path / 'key'}" in refused()

    def test_a_file_that_is_empty_binary_or_gone_is_refused_by_name(self, live, tmp_path):
        live.delenv("POLYBOT_PRIVATE_KEY")
        live.setenv("POLYBOT_PRIVATE_KEY_FILE", str(tmp_path / "gone"))
        assert "gone cannot be read" in refused()
        live.setenv("POLYBOT_PRIVATE_KEY_FILE", key_file(tmp_path, " \n"))
        assert "holds no secret" in refused()
        (tmp_path / "key").write_bytes(b"\xff\xfe\x00")
        assert "holds no secret" in refused()

    def test_one_secret_from_two_places_is_refused(self, live, tmp_path):
        live.setenv("POLYBOT_PRIVATE_KEY_FILE", key_file(tmp_path))
        assert "are both set" in refused()
        with pytest.raises(SecretUnreadable):
            secret_of(load_settings(), "private_key")

    def test_no_secret_is_taken_from_the_file_of_settings(self, live, tmp_path):
        (tmp_path / "floor.toml").write_text(f'private_key = "{KEY}"\n')
        live.setenv("POLYBOT_CONFIG_DIR", str(tmp_path))
        with pytest.raises(SettingsError, match="POLYBOT_PRIVATE_KEY_FILE") as caught:
            load_settings()
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize("name", SECRETS)
    def test_none_is_shown_or_written_down_by_the_settings(self, monkeypatch, name):
        monkeypatch.setenv(f"POLYBOT_{name.upper()}", "marked-secret-value")
        settings = load_settings()
        shown = repr(settings) + str(settings) + json.dumps(public_settings(settings)) + settings.model_dump_json()
        assert "marked-secret-value" not in shown
        assert name not in public_settings(settings)
        assert "marked-secret-value" in secret_values(settings)

    def test_an_error_elsewhere_shows_none_of_them(self, live):
        live.setenv("POLYBOT_SPEED", "fast")
        live.setenv("POLYBOT_RAMP__TRADES", "many")
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert "POLYBOT_RAMP__TRADES" in str(caught.value)
        assert KEY not in str(caught.value) + str(caught.value.__cause__)

    def test_the_processes_we_start_do_not_inherit_them(self):
        environment = {"POLYBOT_PRIVATE_KEY": KEY, "polybot_control_token": TOKEN, "POLYBOT_WALLET": "0x", "HOME": "/"}
        forget_secrets(environment)
        assert environment == {"POLYBOT_WALLET": "0x", "HOME": "/"}


class TestTheAccount:
    def test_keys_are_made_from_the_settings_and_never_printed(self, live):
        live.setenv("POLYBOT_PRIVATE_KEY", KEY.removeprefix("0x"))
        keys = account_keys(load_settings())
        assert keys is not None
        assert keys.private_key == KEY
        assert KEY[2:] not in repr(keys)

    def test_without_a_private_key_there_is_none(self):
        assert account_keys(Settings()) is None

    def test_a_loopback_exchange_stands_in_for_every_host(self, live):
        live.setenv("POLYBOT_EXCHANGE", "http://127.0.0.1:8085/")
        hosts = account_hosts(load_settings())
        assert hosts.clob == "http://127.0.0.1:8085/clob"
        assert hosts.user_socket == "ws://127.0.0.1:8085/ws/user"
        venues = [
            value for value in (getattr(hosts, name) for name in hosts.__struct_fields__) if "polymarket" in str(value)
        ]
        assert venues == []

    def test_a_node_of_ones_own_is_asked_in_place_of_the_public_one(self, live):
        live.setenv("POLYBOT_RPC_URL", "https://node.example/v2/0123456789abcdef")
        assert hosts_with_node(load_settings()).rpc == "https://node.example/v2/0123456789abcdef"

    def test_the_key_in_a_nodes_address_is_hidden_by_itself_too(self, live):
        live.setenv("POLYBOT_RPC_URL", "https://node.example/v2/0123456789abcdef")
        assert "0123456789abcdef" in secret_values(load_settings())

    def test_a_node_of_the_real_chain_is_no_loopback_exchanges(self, live):
        live.setenv("POLYBOT_EXCHANGE", "http://127.0.0.1:8085")
        live.setenv("POLYBOT_RPC_URL", "https://node.example/v2/0123456789abcdef")
        text = refused()
        assert "take POLYBOT_RPC_URL away" in text
        assert "0123456789abcdef" not in text


def test_a_private_files_rights_are_what_the_test_thinks(tmp_path):
    assert stat.S_IMODE(Path(key_file(tmp_path)).stat().st_mode) == 0o600
