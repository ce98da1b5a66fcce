"""The official client, pointed at given hosts. Only the `client*.py` files import `polymarket`, which costs a second:
nothing but a live floor's composition may import them, through live.py.

The client offers no public way to name other hosts (D17) or to sign an order whose salt is ours (D8), so private parts
of one exact release are used; client_check.py compares each with what is expected here first.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
from polymarket import AsyncSecureClient
from polymarket import errors as sdk
from polymarket._internal.actions import account as account_requests
from polymarket._internal.actions.relayer import calls as relayer_calls
from polymarket._internal.protocol import is_v2_position_id
from polymarket.auth import RelayerApiKey
from polymarket.environments import PRODUCTION, Environment, _create_environment
from polymarket.models.clob import ApiKeyCreds
from polymarket.models.clob.order_response import OrderResponse, RejectedOrder
from polymarket.pagination import AsyncPaginator
from polymarket.rate_limit import RateLimitUpdate

from polybot.clock import Clock
from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.units import Millis, Money, Shares
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.account_values import Balance, PositionSeen
from polybot.venue.polymarket.client_errors import (
    BatchRejected,
    HeartbeatMismatch,
    VenueRejected,
    as_outage,
    asking,
    naming_the_relayer,
    reading,
    words,
    writing,
)
from polybot.venue.polymarket.client_models import order_seen, position_seen, trade_seen, units_of
from polybot.venue.polymarket.client_signing import OrderSigner, Signed
from polybot.venue.polymarket.keys import Credentials, Hosts, Keys
from polybot.venue.polymarket.order_form import OrderForm
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen, readable

T = TypeVar("T")
NO_GAS = "insufficient funds"
"""In a node's words for a transaction that its sender cannot pay for."""
PAGES_MAX = 50
"""Of a listing; more is an answer nobody can wait for."""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """The venue took an order. `status` is live, matched or delayed; `matched` how many shares it met at once."""

    status: str
    matched: Shares
    trades: tuple[str, ...]


class RateLimits(msgspec.Struct):
    """What the venue last said of our allowance, and whether it would have refused."""

    remaining: float | None = None
    reset_s: float | None = None
    tier: str = ""
    warned: bool = False


async def open_client(keys: Keys, hosts: Hosts, clock: Clock) -> "AccountClient":
    """Derive the API key and find out what kind of wallet it is; a deposit wallet that does not exist is made.

    Raises BadInput for keys that are none, VenueRejected, VenueUnavailable.
    """
    limits = RateLimits()
    async with asking(), naming_the_relayer():
        client = await AsyncSecureClient.create(
            private_key=keys.private_key,
            wallet=keys.wallet,
            environment=environment(hosts),
            credentials=_creds(keys.credentials),
            api_key=RelayerApiKey(key=keys.relayer_key, address=keys.relayer_address) if keys.relayer_key else None,
            on_rate_limit_update=lambda update: _note(limits, update),
        )
    signer = OrderSigner(client._ctx)
    signer.measure(clock)
    return AccountClient(client, signer, limits, clock)


def environment(hosts: Hosts) -> Environment:
    """The production environment with other addresses, contracts and chain untouched (D17)."""
    config = dataclasses.replace(
        PRODUCTION._config,
        clob_url=hosts.clob,
        clob_user_ws_url=hosts.user_socket,
        gamma_url=hosts.gamma,
        data_url=hosts.data,
        relayer_url=hosts.relayer,
        rpc_url=hosts.rpc,
        relayer_poll_frequency_ms=hosts.relayer_poll_ms,
    )
    return _create_environment(name=hosts.name, config=config)


class AccountClient:
    """One account's calls, each sent once. Reads raise VenueUnavailable and VenueBusy, orders VenueRejected as well."""

    def __init__(self, client: AsyncSecureClient, signer: OrderSigner, limits: RateLimits, clock: Clock) -> None:
        self._client, self.signer, self.limits, self._clock = client, signer, limits, clock
        self._config = client.environment._config
        self.wallet = signer.wallet

    @property
    def credentials(self) -> Credentials:
        creds = self._client.credentials
        return Credentials(key=creds.key, secret=creds.secret, passphrase=creds.passphrase)

    async def close(self) -> None:
        await self._client.close()

    # -- orders -------------------------------------------------------------------------------------------------------

    async def post(self, form: OrderForm) -> Posted:
        """Sign it and send it, once. Raises VenueRejected, VenueUnavailable."""
        (signed,) = await self.signer.sign([form])
        async with asking():
            answer = await self._client.post_order(signed.order)
        said = _answer_to(signed, answer)
        if isinstance(said, Posted):
            return said
        raise said

    async def post_batch(self, forms: Sequence[OrderForm]) -> list[Posted | VenueRejected | VenueUnavailable]:
        """Sign up to 15 and send them in one request, once; what was said to each, in their order.

        Raises BatchRejected where the venue said no to all of it, VenueUnavailable where all of it is unknown.
        """
        batch = await self.signer.sign(forms)
        try:
            async with asking():
                answers = await self._client.post_orders([signed.order for signed in batch])
        except VenueRejected as error:
            raise BatchRejected(error.status, error.text, error.retry_after_s) from error
        _require_in_order(batch, answers)
        return [_answer_to(signed, answer) for signed, answer in zip(batch, answers, strict=True)]

    async def cancel(self, order_hash: str) -> str | None:
        """None where it is cancelled, else why not, in the venue's words."""
        async with asking():
            answer = await self._client.cancel_order(order_id=order_hash)
        if order_hash in (str(order).lower() for order in answer.canceled):
            return None
        refusals = (text for order, text in answer.not_canceled.items() if order.lower() == order_hash)
        return words(next(refusals, "not open"))

    async def cancel_all(self) -> list[str]:
        """The hashes of what was cancelled: every open order of this API key, whoever placed it."""
        async with reading():
            return [str(order) for order in (await self._client.cancel_all()).canceled]

    async def heartbeat(self, heartbeat_id: str) -> str:
        """The id to send next time. Raises HeartbeatMismatch, VenueUnavailable, VenueBusy."""
        async with reading():
            try:
                return (await self._client.send_order_heartbeat(heartbeat_id=heartbeat_id)).heartbeat_id
            except sdk.OrderHeartbeatMismatchError as error:
                raise HeartbeatMismatch(error.heartbeat_id) from error

    # -- reading ------------------------------------------------------------------------------------------------------

    async def order(self, order_hash: str) -> OrderSeen | None:
        """One of our orders, open or ended; None where the venue has none of that hash."""
        try:
            async with asking():
                found = await self._client.get_order(order_id=order_hash)
                return _named(order_hash, order_seen(found, self._clock.now_ms()))
        except VenueRejected as error:
            if error.status == 404:
                return None
            raise as_outage(error) from error
        except BadInput as error:
            raise VenueUnavailable(f"order {order_hash}: {error}") from error
        except VenueUnavailable as error:
            if not isinstance(error.__cause__, sdk.UnexpectedResponseError):
                raise
        listed = await self.open_orders(order_hash)  # `null` is how some versions say that there is none
        return _named(order_hash, listed[0]) if listed else None

    async def open_orders(self, order_hash: str | None = None) -> list[OrderSeen]:
        async with reading():
            found = await _all(self._client.list_open_orders(id=order_hash))
            return [order_seen(order, self._clock.now_ms()) for order in found]

    async def trades(self, after: Millis, condition: ConditionId | None = None) -> list[TradeSeen]:
        """Our trades, as maker or taker, matched from a second before `after` on."""
        since = str(max(0, after // 1000 - 1))
        async with reading():
            pages = self._client.list_account_trades(market=condition, after=since)
            return [trade_seen(trade, self._clock.now_ms()) for trade in await _all(pages)]

    async def collateral(self) -> Balance:
        """Allowances of the contracts that our orders are signed for; of all where neither of them is named. The venue
        also names those of other markets (neg risk, perps), which an owner need not have approved."""
        async with reading():
            found = await self._client.get_balance_allowance(asset_type="COLLATERAL")
        allowed = {readable(key.lower()): value for key, value in found.allowances.items()}
        used = {self._config.standard_exchange.lower(), self._config.exchange_v3.lower()}
        return Balance(Money(found.balance), {key: allowed[key] for key in allowed if key in used} or allowed)

    async def refresh_collateral(self) -> None:
        """Have the venue look at the chain again: its own copy of our balance may be stale (polymarket.md 6.5)."""
        await self._refresh(asset_type="COLLATERAL")

    async def refresh_held(self, token: TokenId) -> None:
        """The same for one outcome's tokens."""
        await self._refresh(asset_type=_kind(token), asset_id=token)

    async def held(self, token: TokenId) -> Shares:
        """How many of one outcome's tokens the wallet has, at the venue's own word: quicker than `positions`."""
        async with reading():
            return Shares((await self._client.get_balance_allowance(asset_type=_kind(token), asset_id=token)).balance)

    async def _refresh(self, **what: Any) -> None:
        path, params = account_requests.build_update_balance_allowance_request(
            **what, signature_type=self.wallet.signature_type
        )
        async with reading():
            await self._client._ctx.secure_clob.get_bytes(path, params=params)

    async def positions(self, status: str | None = None) -> list[PositionSeen]:
        """`status`: OPEN, REDEEMABLE (worth something), REDEEMABLE_LOST, MERGEABLE or CLOSED."""
        async with reading():
            listing = self._client.list_positions(status=cast(Any, status))
            return [position_seen(found) for found in await _all(listing)]

    async def closed_only(self) -> bool:
        """Whether the venue lets this wallet only close positions."""
        async with reading():
            return await self._client.get_closed_only_mode()

    # -- settlement ---------------------------------------------------------------------------------------------------

    def redeem_calls(self, condition: ConditionId, version: str, shares: tuple[Shares, Shares]) -> list[Any]:
        """The contract calls that turn a resolved market's shares (Up, Down) into pUSD (polymarket.md 7).

        Raises BadInput for a condition that is none.
        """
        with writing():
            return self._redeem_calls(condition, version, shares)

    def _redeem_calls(self, condition: ConditionId, version: str, shares: tuple[Shares, Shares]) -> list[Any]:
        if version == "v1":
            adapter, collateral = cast(Any, self._config.collateral_adapter), cast(Any, self._config.collateral_token)
            return [relayer_calls.ctf_redeem_positions_call(ctf=adapter, collateral=collateral, condition_id=condition)]
        router = cast(Any, self._config.protocol_v2_router)
        return [
            relayer_calls.redeem_v2_call(router=router, condition_id=condition, outcome_index=index, amount=amount)
            for index, amount in enumerate(shares)
            if amount
        ]

    def merge_calls(self, condition: ConditionId, version: str, amount: Shares) -> list[Any]:
        """The contract call that turns `amount` of both outcomes into as much pUSD. Raises as `redeem_calls`."""
        with writing():
            return self._merge_calls(condition, version, amount)

    def _merge_calls(self, condition: ConditionId, version: str, amount: Shares) -> list[Any]:
        if version == "v1":
            adapter, collateral = cast(Any, self._config.collateral_adapter), cast(Any, self._config.collateral_token)
            return [
                relayer_calls.merge_positions_call(
                    target=adapter, collateral=collateral, condition_id=condition, amount=amount
                )
            ]
        router = cast(Any, self._config.protocol_v2_router)
        return [relayer_calls.merge_v2_call(router=router, condition_id=condition, amount=amount)]

    async def transact(self, calls: Sequence[Any], purpose: str) -> str:
        """Have the calls done in one transaction, gaslessly, and wait until it is confirmed; its hash.

        An EOA broadcasts and pays for each call as a transaction of its own, one after another, and gets the last one's
        hash. Raises VenueRejected where it was refused or failed on chain, BadInput where it cannot be signed (no
        relayer's key, say), VenueUnavailable where that is unknown.
        """
        try:
            return await self._transact(calls, purpose)
        except VenueRejected as error:
            if NO_GAS not in error.text.lower():
                raise
            text = f"{self.wallet.address} has too little POL to pay for its gas: send it some ({error.text})"
            raise VenueRejected(error.status, text) from error

    async def may_claim(self) -> bool:
        """Whether the venue's adapter may take this wallet's shares to turn them into pUSD (polymarket.md 6.9), as the
        chain has it. Raises VenueUnavailable, VenueBusy."""
        config = cast(Any, self._config)
        asked = relayer_calls.erc1155_is_approved_for_all_call(
            token_address=config.conditional_tokens,
            owner=cast(Any, self.wallet.address),
            operator=config.collateral_adapter,
        )
        async with reading():
            told = await self._client._ctx.rpc.eth_call(to=str(asked.to), data=asked.data)
        return _number(told, "an approval") == 1

    async def pol(self) -> int:
        """What an EOA can pay for gas, in wei. Raises VenueUnavailable, VenueBusy."""
        async with reading():
            told = await self._client._ctx.rpc._call("eth_getBalance", [self.wallet.address, "latest"])
        return _number(told, "a balance")

    async def _transact(self, calls: Sequence[Any], purpose: str) -> str:
        async with asking():
            handle = await self._client.execute_transaction(calls=calls, metadata=purpose)
            return str((await handle.wait()).transaction_hash)


# -- what is said to an order -----------------------------------------------------------------------------------------


def _answer_to(signed: Signed, answer: OrderResponse) -> Posted | VenueRejected | VenueUnavailable:
    if isinstance(answer, RejectedOrder):
        return VenueRejected(200, answer.message)
    if str(answer.order_id).lower() != signed.hash:
        named = words(str(answer.order_id))
        return VenueUnavailable(f"the venue took {signed.hash} as {named}: our hash is not its own")
    got = answer.taking_amount if signed.order.side == "BUY" else answer.making_amount
    try:
        return Posted(status=answer.status, matched=Shares(units_of(got)), trades=answer.trade_ids)
    except BadInput as error:
        return VenueUnavailable(f"the venue took {signed.hash}, and says {error}")


def _require_in_order(batch: Sequence[Signed], answers: Sequence[OrderResponse]) -> None:
    """A refusal has no order's name: it is an order's by its place alone, so that a place in doubt is all in doubt.

    Raises VenueUnavailable.
    """
    if len(answers) != len(batch):
        raise VenueUnavailable(f"{len(answers)} answers to {len(batch)} orders")
    names = [signed.hash for signed in batch]
    for name, answer in zip(names, answers, strict=True):
        said = (answer.message if isinstance(answer, RejectedOrder) else str(answer.order_id)).lower()
        if name not in said and any(other in said for other in names):
            raise VenueUnavailable(f"in the place of {name} another order of the batch is answered: {words(said)}")


# -- answers and listings ---------------------------------------------------------------------------------------------


def _number(told: object, what: str) -> int:
    """Raises VenueUnavailable for what is none."""
    try:
        return int(str(told), 16)
    except ValueError as error:
        raise VenueUnavailable(f"the chain tells {told!r} for {what}") from error


def _kind(token: TokenId) -> Any:
    return "CONDITIONAL-V2" if is_v2_position_id(token) else "CONDITIONAL"


def _named(order_hash: str, order: OrderSeen) -> OrderSeen:
    """Raises VenueUnavailable for another order's story: ours may be open still, or filled."""
    if order.hash != order_hash:
        raise VenueUnavailable(f"asked for order {order_hash}, the venue answered with {order.hash}")
    return order


async def _all(listing: AsyncPaginator[T]) -> list[T]:
    """Every item of a listing. Raises VenueUnavailable for one without end."""
    items: list[T] = []
    pages = 0
    async for page in listing:
        items += page.items
        pages += 1
        if pages == PAGES_MAX:
            raise VenueUnavailable(f"a listing of more than {PAGES_MAX} pages")
    return items


def _creds(given: Credentials | None) -> ApiKeyCreds | None:
    if given is None:
        return None
    return ApiKeyCreds.model_validate({"apiKey": given.key, "secret": given.secret, "passphrase": given.passphrase})


def _note(limits: RateLimits, update: RateLimitUpdate) -> None:
    limits.remaining, limits.reset_s = update.remaining, update.reset
    limits.tier, limits.warned = update.tier or limits.tier, update.warning
