"""The floor that is rehearsed with: the shipped agents and four that order often, real orders by a key of its own."""

import os
import random
import shutil
from decimal import Decimal
from pathlib import Path

import msgspec
from eth_account import Account

from polybot.exchange.core.model import Address
from polybot.exchange.wallets import DEPOSIT_WALLET, wallet_of
from polybot.live_settings import ACKNOWLEDGEMENT
from polybot.paths import configs_dir
from polybot.rehearsal import punctual

CAPITAL = Decimal(5_000)
FUNDS = Decimal("5123.456789")
"""What the wallet has: more than the floor's capital, as a wallet may."""
BOOK_AGE_S_MAX = 60.0
REFRESH_S_MAX = 60.0
SILENCE_S_MAX = 300.0
TAKERS, MAKERS = 2, 2
SECONDS_PER_ORDER = 20
"""Of the market's clock, for all of them: their orders leave in one request."""
AGENT = """
strategy = "{strategy}"
[parameters]
seconds = {seconds}
[execution]
{execution}
orders_per_window = 40
"""
EXECUTION = {
    "taker": 'style = "taker"\ntime_in_force = "{tif}"\nslippage_ticks = 2\norder_cost_max = "8"',
    "maker": 'style = "maker"\nrest_s = 150\norder_cost_max = "8"',
}


class Identity(msgspec.Struct, frozen=True):
    """A key nobody else has any use for, and the wallet it signs for."""

    private_key: str
    address: Address
    wallet: Address

    def __repr__(self) -> str:
        return f"Identity({self.wallet})"


def identity_of(seed: int) -> Identity:
    """The same for the same seed: its orders have the same names then. Worth nothing outside a loopback exchange."""
    private_key = "0x" + random.Random(f"rehearsal {seed}").randbytes(32).hex()
    address = Address(str(Account.from_key(private_key).address).lower())
    return Identity(private_key, address, wallet_of(address, DEPOSIT_WALLET))


def write_agents(folder: Path) -> None:
    """Configuration and strategies in `folder`."""
    configs, own = folder / "configs", folder / "strategies"
    shutil.copytree(configs_dir(), configs)
    own.mkdir()
    shutil.copy(str(punctual.__file__), own / "punctual.py")  # where the service finds an owner's own strategies
    for style, count in (("taker", TAKERS), ("maker", MAKERS)):
        for number in range(count):
            execution = EXECUTION[style].format(tif=("FAK", "FOK")[number % 2])
            text = AGENT.format(strategy=punctual.Punctual.name, seconds=SECONDS_PER_ORDER, execution=execution)
            (configs / "strategies" / f"busy_{style}_{number + 1}.toml").write_text(text)


def environment(
    folder: Path, exchange: str, who: Identity, relayer_key: str, *, speed: float, seed: int
) -> dict[str, str]:
    """What the service is told; nothing else of PolyBot's comes from the caller's environment.

    Time runs `speed` times as fast, and what the floor waits for by the market's clock is allowed so much more of it:
    a book that is five seconds old by the machine's clock is fifty old by the market's, at ten times the speed.
    """
    given = {
        "MODE": "live",
        "SOURCE": "polymarket",
        "EXCHANGE": exchange,
        "PRIVATE_KEY": who.private_key,
        "RELAYER_KEY": relayer_key,
        "RELAYER_ADDRESS": who.address,
        "LIVE_ACKNOWLEDGEMENT": ACKNOWLEDGEMENT,
        "CONFIG_DIR": folder / "configs",
        "STRATEGIES_DIR": folder / "strategies",
        "DATA_DIR": folder / "data",
        "CAPITAL": CAPITAL,
        "SEED": seed,
        "RECORD__DISK_GB": 1,
        "FEED__SILENCE_S": min(SILENCE_S_MAX, 10 * speed),
        "FEED__REFRESH_S": min(REFRESH_S_MAX, 3 * speed),
        "RAMP__ORDER_COST": 20,
        "LIMITS__BOOK_AGE_S": min(BOOK_AGE_S_MAX, 5 * speed),
        "LIMITS__BOOK_UNCHANGED_S": 60 * speed,
        "LIMITS__AGENT_PERCENT": 100,
        "LIMITS__FLOOR_PERCENT": 100,
        "LIMITS__DAILY_LOSS_PERCENT": 100,
        "LIMITS__DAILY_DRAWDOWN_PERCENT": 100,
        "LIMITS__LOSS_STREAK": 1_000_000,
        "LIMITS__CALL_FAILURE_PERCENT": 50,
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    return others | {f"POLYBOT_{name}": str(value) for name, value in given.items()}
