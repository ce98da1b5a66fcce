"""What a floor in live mode needs to rehearse on a loopback exchange: a key, a wallet, the relayer's key, in files."""

import os
from pathlib import Path

import msgspec
from eth_account import Account

from polybot.domain.errors import BadInput
from polybot.exchange.core.model import Address
from polybot.exchange.relayer_api import key_of
from polybot.exchange.wallets import DEPOSIT_WALLET, wallet_of

SETTINGS = "live.env"


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """Files and addresses; the key itself stays in its file. Worth nothing outside a loopback exchange."""

    folder: Path
    address: Address
    wallet: Address

    @property
    def settings(self) -> Path:
        return self.folder / SETTINGS


def guest_of(folder: Path) -> Guest:
    """The key in `folder`; drawn at the first call, and the same one afterwards. Raises BadInput."""
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = _key(folder / "private.key")
        address = Address(str(Account.from_key(key).address).lower())
        _write_secret(folder / "relayer.key", key_of(address))
    except OSError as error:
        raise BadInput(f"{folder}: a guest's files cannot be written there: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{folder / 'private.key'} holds no private key: name another folder") from error
    return Guest(folder=folder, address=address, wallet=wallet_of(address, DEPOSIT_WALLET))


def write_settings(guest: Guest, url: str) -> None:
    """For `set -a; . live.env; set +a`. The acknowledgement is left out: to say it is part of what is rehearsed."""
    given = {
        "SOURCE": "polymarket",
        "EXCHANGE": url,
        "MODE": "live",
        "DATA_DIR": guest.folder / "data",
        "PRIVATE_KEY_FILE": guest.folder / "private.key",
        "WALLET": guest.wallet,
        "RELAYER_KEY_FILE": guest.folder / "relayer.key",
        "RELAYER_ADDRESS": guest.address,
    }
    guest.settings.write_text("".join(f"POLYBOT_{name}='{value}'\n" for name, value in given.items()))


def _key(file: Path) -> str:
    """Unguessable, and no matter of the exchange's seed: somebody may send real money to its address by mistake."""
    if not file.exists():
        _write_secret(file, "0x" + bytes(Account.create().key).hex())
    return file.read_text().strip()


def _write_secret(file: Path, text: str) -> None:
    """Nobody else may read it, not even for the moment in which it is made."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text + "\n")
