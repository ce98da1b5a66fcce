"""Whether the installed client is the one this code was written for: version, and every part of it that is used.

The parts are found by name, so that a missing one is a sentence and not a traceback from an import.
"""

import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping

from polybot.domain.errors import PolybotError

PINNED = "0.14.0"

PARTS: Mapping[str, str] = {
    "polymarket:AsyncSecureClient.create": "private_key wallet environment credentials api_key on_rate_limit_update",
    "polymarket:AsyncSecureClient.post_order": "signed_order",
    "polymarket:AsyncSecureClient.post_orders": "signed_orders",
    "polymarket:AsyncSecureClient.cancel_order": "order_id",
    "polymarket:AsyncSecureClient.cancel_all": "",
    "polymarket:AsyncSecureClient.get_order": "order_id",
    "polymarket:AsyncSecureClient.list_open_orders": "id market",
    "polymarket:AsyncSecureClient.list_account_trades": "market after",
    "polymarket:AsyncSecureClient.get_balance_allowance": "asset_type asset_id",
    "polymarket:AsyncSecureClient.list_positions": "user status",
    "polymarket:AsyncSecureClient.get_closed_only_mode": "",
    "polymarket:AsyncSecureClient.send_order_heartbeat": "heartbeat_id",
    "polymarket:AsyncSecureClient.execute_transaction": "calls metadata",
    "polymarket:AsyncSecureClient.close": "",
    "polymarket:AsyncSecureClient.wallet_type": "",
    "polymarket:AsyncSecureClient._ctx": "",
    "polymarket.environments:PRODUCTION._config": "",
    "polymarket.environments:_create_environment": "name config",
    "polymarket.environments:_EnvironmentConfig": (
        "clob_url clob_user_ws_url gamma_url data_url relayer_url rpc_url relayer_poll_frequency_ms chain_id "
        "standard_exchange exchange_v3 collateral_adapter collateral_token conditional_tokens protocol_v2_router"
    ),
    "polymarket._internal.context:AsyncSecureClientContext": (
        "signer credentials wallet wallet_type signer_type secure_clob environment_config rpc"
    ),
    "polymarket._internal.eoa.rpc:JsonRpcClient._call": "method params",
    "polymarket._internal.eoa.rpc:JsonRpcClient.eth_call": "to data",
    "polymarket._internal.actions.account:build_update_balance_allowance_request": "asset_type signature_type",
    "polymarket.clients._transport:AsyncTransport.get_bytes": "path params",
    "polymarket._internal.actions.orders.types:UnsignedOrder": (
        "chain_id builder exchange_address expiration maker maker_amount metadata order_type salt side signature_type "
        "signer taker_amount timestamp token_id protocol_version"
    ),
    "polymarket._internal.actions.orders.orders:create_signed_order": "order signature post_only",
    "polymarket._internal.actions.orders.typed_data:build_order_typed_data": "order",
    "polymarket._internal.actions.orders.typed_data:build_order_signature": "order signature",
    "polymarket._internal.actions.orders.typed_data:_app_domain_separator": "order protocol_version",
    "polymarket._internal.actions.orders.typed_data:_order_contents_hash": "order",
    "polymarket._internal.wallet:signature_type_for": "wallet_type",
    "polymarket._internal.wallet:wrap_deposit_wallet_signature": "signer signer_type signature",
    "polymarket._internal.protocol:is_v2_position_id": "asset_id",
    "polymarket._internal.actions.relayer.calls:erc1155_is_approved_for_all_call": "token_address owner operator",
    "polymarket._internal.actions.relayer.calls:ctf_redeem_positions_call": "ctf collateral condition_id",
    "polymarket._internal.actions.relayer.calls:redeem_v2_call": "router condition_id outcome_index amount",
    "polymarket._internal.actions.relayer.calls:merge_positions_call": "target collateral condition_id amount",
    "polymarket._internal.actions.relayer.calls:merge_v2_call": "router condition_id amount",
    "polymarket.auth:RelayerApiKey": "key address",
    "polymarket.models.clob.order_response:RejectedOrder": "message",
    "polymarket.models.clob.orders:SignedOrder": "salt signature timestamp side",
    "polymarket.errors:RequestRejectedError": "status retry_after",
    "polymarket.errors:RateLimitError": "retry_after",
    "polymarket.errors:OrderHeartbeatMismatchError": "heartbeat_id",
}
"""`module:name` -> the parameters (or fields) of it that are used here."""


class ClientMismatch(PolybotError):
    """The installed official client is not the one that this version of polybot knows how to use."""


def check_client(parts: Mapping[str, str] = PARTS, pinned: str = PINNED) -> None:
    """Raises ClientMismatch, naming the pinned version and everything that is not as expected."""
    installed = importlib.metadata.version("polymarket-client")
    wrong = [] if installed == pinned else [f"installed is {installed}"]
    wrong += [trouble for part, words in parts.items() if (trouble := _trouble(part, words.split()))]
    if wrong:
        raise ClientMismatch(
            f"polymarket-client is not as polybot knows it from {pinned}: {'; '.join(wrong)}. "
            f"Install polymarket-client=={pinned}, or adapt polybot/venue/polymarket/client.py."
        )


def _trouble(part: str, expected: list[str]) -> str | None:
    module_name, _, path = part.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return f"{part} is gone"
    if not expected:
        return None
    missing = [name for name in expected if name not in _names(found)]
    return f"{part} has no {', '.join(missing)}" if missing else None


def _names(found: object) -> set[str]:
    """Parameters of a function, fields of a data class or model, and what a class takes to be made."""
    names = {name for kind in ("__dataclass_fields__", "model_fields") for name in getattr(found, kind, {})}
    if callable(found):
        names |= set(inspect.signature(found).parameters)
    return names
