"""The relayer over HTTP (polymarket.md 7): nonces, signed submissions, states, deployed wallets."""

import binascii
import hashlib
import hmac
from collections.abc import Mapping

import msgspec
from aiohttp import web

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.exchange.chain_calls import (
    CALLS_MAX,
    DEPOSIT_WALLET_FACTORY,
    PROXY_FACTORY,
    ChainCall,
    action_of,
    proxy_calls,
    safe_calls,
)
from polybot.exchange.core.model import Address, Refused
from polybot.exchange.edge import Refusal, answer, read_body
from polybot.exchange.exchange import Exchange
from polybot.exchange.relayed_signatures import batch_signer, proxy_signer, safe_signer
from polybot.exchange.relayer import Relayer, Transaction
from polybot.exchange.wallets import DEPOSIT_WALLET, GNOSIS_SAFE, POLY_PROXY, wallet_of

RELAY = "0x" + "7e" * 20
"""Who pays for a proxy's gas; part of what is signed."""
KINDS = {"WALLET": DEPOSIT_WALLET, "SAFE": GNOSIS_SAFE, "PROXY": POLY_PROXY}
METADATA_MAX = 500
DATA_MAX = 100_000


class WireCall(msgspec.Struct):
    target: str
    value: str
    data: str


class WireBatch(msgspec.Struct, rename="camel"):
    deposit_wallet: str
    deadline: str
    calls: list[WireCall]


class WireSignatureTerms(msgspec.Struct, rename="camel"):
    operation: str = "0"
    gas_limit: str = "0"
    relay: str = ""


class Submission(msgspec.Struct, rename="camel"):
    """The body of `POST /submit`, of whatever type."""

    type: str
    sender: str = msgspec.field(name="from")
    to: str
    nonce: str = ""
    signature: str = ""
    metadata: str = ""
    data: str = ""
    value: str = "0"
    proxy_wallet: str = ""
    deposit_wallet_params: WireBatch | None = None
    signature_params: WireSignatureTerms | None = None


class RelayerApi:
    """Edge of `Relayer`. Keys come from `key_of`, which whoever runs the exchange hands out."""

    def __init__(self, exchange: Exchange, relayer: Relayer) -> None:
        self._exchange, self._relayer = exchange, relayer

    def add_to(self, app: web.Application) -> None:
        app.add_routes(
            [
                web.get("/deployed", self._deployed),
                web.get("/v1/account/transactions/params", self._params),
                web.get("/relay-payload", self._params),
                web.get("/nonce", self._params),
                web.post("/submit", self._submit),
                web.get("/v1/account/transactions/{id}", self._transaction),
            ]
        )

    async def _deployed(self, request: web.Request) -> web.Response:
        return answer({"deployed": self.is_deployed(_asked(request))})

    def is_deployed(self, wallet: Address) -> bool:
        """Made through the relayer, or known to have had money: whoever funds a wallet here need not deploy it."""
        account = self._exchange.engine.bank.accounts.get(wallet)
        if account is not None and (account.cash or account.shares):
            self._relayer.deployed.add(wallet)
        return wallet in self._relayer.deployed

    async def _params(self, request: web.Request) -> web.Response:
        """The nonce of a signer's wallet; for a proxy with the relay's address, which is signed, too."""
        kind, signer = request.query.get("type", "WALLET"), _asked(request)
        address = RELAY if kind == "PROXY" else request.query["address"]
        return answer({"address": address, "nonce": str(self._relayer.nonce(signer, kind))})

    async def _transaction(self, request: web.Request) -> web.Response:
        self._relayer.step(self._exchange.now())
        self._exchange.publish()
        found = self._relayer.transaction(request.match_info["id"])
        if found is None:
            raise Refusal(404, "transaction not found")
        return answer(
            {
                "transaction_id": found.id,
                "transaction_hash": found.hash,
                "state": found.state.value,
                "type": found.kind,
                "from": found.signer,
                "proxy_address": found.wallet,
                "metadata": found.metadata,
                "error_msg": found.error,
                "created_at": found.created_at,
            }
        )

    async def _submit(self, request: web.Request) -> web.Response:
        now = self._exchange.now()
        if self._relayer.is_down:
            raise Refusal(503, "relayer is unavailable")
        key = _checked_key(request.headers)
        submission: Submission = await read_body(request, Submission, "invalid request body")
        refused = self._relayer.spend_quota(key, now)
        if refused is not None:
            raise Refusal(refused.status, refused.text, headers={"Retry-After": "1"})
        try:
            transaction, nonce = self._decoded(submission, now)
        except BadInput as error:
            raise Refusal(400, str(error)) from error
        self._relayer.step(now)
        taken = self._relayer.submit(transaction, nonce)
        self._exchange.publish()
        if isinstance(taken, Refused):
            raise Refusal(taken.status, taken.text)
        return answer({"transactionID": taken.id, "transactionHash": taken.hash, "state": taken.state.value})

    # -- reading submissions ------------------------------------------------------------------------------------------

    def _decoded(self, submission: Submission, now: Millis) -> tuple[Transaction, int | None]:
        """The transaction and its nonce. Raises BadInput for a wrong signature, wallet, deadline or call."""
        if len(submission.metadata) > METADATA_MAX:
            raise BadInput(f"metadata is longer than {METADATA_MAX} characters")
        signer = _address(submission.sender)
        calls: list[ChainCall]
        match submission.type:
            case "WALLET-CREATE":
                _check_target(submission, DEPOSIT_WALLET_FACTORY)
                wallet, calls = wallet_of(signer, DEPOSIT_WALLET), []
            case "WALLET":
                wallet, calls = _batch(submission, signer, now)
            case "SAFE":
                wallet, calls = _safe(submission, signer)
            case "PROXY":
                wallet, calls = _proxy(submission, signer)
            case _:
                raise BadInput(f"transaction type {submission.type[:20]!r} is not relayed here")
        if calls and not self._exchange.wallets.owns(signer, wallet, KINDS[submission.type]):
            raise BadInput(f"invalid signature: {signer} does not own {wallet}")
        made = Transaction(
            id="",
            kind=submission.type,
            signer=signer,
            wallet=wallet,
            actions=tuple(action_of(call) for call in calls),
            metadata=submission.metadata,
            created_at=now,
        )
        return made, _number(submission.nonce, "nonce") if calls else None


def key_of(address: Address) -> str:
    """The relayer key of a wallet or signer: the same at every start, and worth nothing elsewhere."""
    name = hashlib.sha256(f"loopback relayer key of {address}".encode()).hexdigest()
    return f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:32]}"


def _checked_key(headers: Mapping[str, str]) -> str:
    key, address = headers.get("RELAYER_API_KEY", ""), headers.get("RELAYER_API_KEY_ADDRESS", "").lower()
    if not address or not hmac.compare_digest(key.encode(), key_of(Address(address)).encode()):
        raise Refusal(401, "invalid authorization")
    return key


def _batch(submission: Submission, signer: Address, now: Millis) -> tuple[Address, list[ChainCall]]:
    batch = submission.deposit_wallet_params
    if batch is None or not 0 < len(batch.calls) <= CALLS_MAX:
        raise BadInput(f"depositWalletParams are missing, or have no calls, or more than {CALLS_MAX}")
    _check_target(submission, DEPOSIT_WALLET_FACTORY)
    deadline = _number(batch.deadline, "deadline")
    if deadline * 1000 <= now:
        raise BadInput(f"batch deadline {deadline} has passed: it is {now // 1000} here")
    if any(call.value != "0" for call in batch.calls):
        raise BadInput("calls do not carry value here")
    wallet = _address(batch.deposit_wallet)
    calls = [ChainCall(_address(call.target), _bytes(call.data)) for call in batch.calls]
    nonce = _number(submission.nonce, "nonce")
    _check_signer(batch_signer(wallet, calls, nonce, deadline, _bytes(submission.signature)), signer)
    return wallet, calls


def _safe(submission: Submission, signer: Address) -> tuple[Address, list[ChainCall]]:
    terms = submission.signature_params or WireSignatureTerms()
    wallet, to, data = _address(submission.proxy_wallet), _address(submission.to), _bytes(submission.data)
    operation, nonce = _number(terms.operation, "operation"), _number(submission.nonce, "nonce")
    _check_signer(safe_signer(wallet, to, data, operation, nonce, _bytes(submission.signature)), signer)
    return wallet, safe_calls(to, data, operation)


def _proxy(submission: Submission, signer: Address) -> tuple[Address, list[ChainCall]]:
    terms = submission.signature_params or WireSignatureTerms()
    _check_target(submission, PROXY_FACTORY)
    data, nonce, gas = _bytes(submission.data), _number(submission.nonce, "nonce"), _number(terms.gas_limit, "gasLimit")
    if _address(terms.relay) != RELAY:
        raise BadInput(f"relay {terms.relay[:42]!r} is not ours")
    _check_signer(proxy_signer(signer, data, gas, nonce, RELAY, _bytes(submission.signature)), signer)
    return _address(submission.proxy_wallet), proxy_calls(data)


def _check_signer(found: Address, signer: Address) -> None:
    if found != signer:
        raise BadInput("invalid signature: it is not of `from`, or not of what was submitted")


def _check_target(submission: Submission, contract: str) -> None:
    if _address(submission.to) != contract:
        raise BadInput(f"to {submission.to[:42]!r} is not {contract}")


def _asked(request: web.Request) -> Address:
    try:
        return _address(request.query.get("address", ""))
    except BadInput as error:
        raise Refusal(400, str(error)) from error


def _address(text: str) -> Address:
    if len(text) != 42 or not text.startswith("0x"):
        raise BadInput(f"{text[:44]!r} is not an address")
    return Address(text.lower())


def _bytes(text: str) -> bytes:
    if len(text) > DATA_MAX:
        raise BadInput(f"more than {DATA_MAX} characters of data")
    try:
        return binascii.unhexlify(text.removeprefix("0x"))
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{text[:20]!r} is not hexadecimal") from error


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise BadInput(f"{what} {text[:20]!r} is not a number")
    return int(text)
