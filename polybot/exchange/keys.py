"""API keys, and who may use them: L1 (a wallet's signature) makes them, L2 (an HMAC) uses them (polymarket.md 6.9).

Keys are derived from the exchange's own seed, the wallet and the nonce: the same ones come back after a restart, and
none is a secret worth having.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from polybot.domain.units import Millis
from polybot.exchange.core.model import Address, OwnerKey, Refused
from polybot.exchange.signatures import recover_clob_auth

SKEW_S_MAX = 30
"""How far a request's timestamp may be from our clock. The venue's own bound is not documented."""
DIGITS_MAX = 20
BAD_KEY = Refused(text="Unauthorized/Invalid api key", status=401)
BAD_L1 = Refused(text="Invalid L1 Request headers", status=401)
KEY_EXISTS = Refused(text="Could not create api key", status=400)
NO_KEY = Refused(text="Could not derive api key!", status=400)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """`address` is the key that signs, never its wallet. Under these names the venue answers with them."""

    api_key: OwnerKey = msgspec.field(name="apiKey")
    secret: str
    passphrase: str
    address: Address
    nonce: int = 0


class Keys:
    """Every key that was made and not deleted."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._made: dict[OwnerKey, Credentials] = {}

    # -- making -------------------------------------------------------------------------------------------------------

    def create(self, headers: Mapping[str, str], now: Millis) -> Credentials | Refused:
        derived = self._from_l1(headers, now)
        if isinstance(derived, Refused):
            return derived
        if derived.api_key in self._made:
            return KEY_EXISTS
        self._made[derived.api_key] = derived
        return derived

    def derive(self, headers: Mapping[str, str], now: Millis) -> Credentials | Refused:
        derived = self._from_l1(headers, now)
        if isinstance(derived, Refused):
            return derived
        return self._made.get(derived.api_key, NO_KEY)

    def issue(self, address: Address, nonce: int = 0) -> Credentials:
        """A key without a signature: for whoever starts the exchange."""
        made = self._derived(address, nonce)
        self._made[made.api_key] = made
        return made

    def delete(self, key: OwnerKey) -> None:
        self._made.pop(key, None)

    def of_address(self, address: Address) -> list[OwnerKey]:
        return [made.api_key for made in self._made.values() if made.address == address]

    # -- using --------------------------------------------------------------------------------------------------------

    def check_l2(
        self, headers: Mapping[str, str], method: str, path: str, body: bytes, now: Millis
    ) -> Credentials | Refused:
        """Whose request this is. `path` as the venue knows it, without the query; `body` the exact bytes."""
        made = self._made.get(OwnerKey(headers.get("POLY_API_KEY", "")))
        timestamp = headers.get("POLY_TIMESTAMP", "")
        if made is None or not _is_near(timestamp, now):
            return BAD_KEY
        expected = hmac_of(made.secret, timestamp + method + path, body)
        is_genuine = (
            hmac.compare_digest(headers.get("POLY_SIGNATURE", ""), expected)
            and hmac.compare_digest(headers.get("POLY_PASSPHRASE", ""), made.passphrase)
            and headers.get("POLY_ADDRESS", "").lower() == made.address
        )
        return made if is_genuine else BAD_KEY

    def check_plain(self, key: str, secret: str, passphrase: str) -> Credentials | None:
        """Whose socket this is: user channel and PolyBolt send the three in the open."""
        made = self._made.get(OwnerKey(key))
        if made is None or (made.secret, made.passphrase) != (secret, passphrase):
            return None
        return made

    def _from_l1(self, headers: Mapping[str, str], now: Millis) -> Credentials | Refused:
        address = Address(headers.get("POLY_ADDRESS", "").lower())
        timestamp, nonce = headers.get("POLY_TIMESTAMP", ""), headers.get("POLY_NONCE", "0")
        if not _is_near(timestamp, now) or not _is_number(nonce):
            return BAD_L1
        signer = recover_clob_auth(address, timestamp, int(nonce), headers.get("POLY_SIGNATURE", ""))
        return self._derived(address, int(nonce)) if signer is not None and signer == address else BAD_L1

    def _derived(self, address: Address, nonce: int) -> Credentials:
        digests = [hashlib.sha256(f"{self._seed}/{address}/{nonce}/{part}".encode()) for part in range(3)]
        name = digests[0].hexdigest()
        return Credentials(
            api_key=OwnerKey(f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:32]}"),
            secret=base64.urlsafe_b64encode(digests[1].digest()).decode(),
            passphrase=digests[2].hexdigest(),
            address=address,
            nonce=nonce,
        )


def hmac_of(secret: str, message: str, body: bytes) -> str:
    try:
        key = base64.urlsafe_b64decode(secret)
    except (binascii.Error, ValueError):
        return ""
    return base64.urlsafe_b64encode(hmac.new(key, message.encode() + body, hashlib.sha256).digest()).decode()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX


def _is_near(timestamp: str, now: Millis) -> bool:
    return _is_number(timestamp) and abs(int(timestamp) - now / 1000) <= SKEW_S_MAX
