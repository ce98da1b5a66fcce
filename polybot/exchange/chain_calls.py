"""What a gasless transaction asks of the contracts: calls taken apart by their real ABI (polymarket.md 7).

Anything that is not understood to the last byte is refused: the exchange must not do something else than the chain.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId
from polybot.domain.market import Outcome

# Polygon's addresses, lower case (polymarket.md 1.3, 1.4, 6.9, 7; the official client's environment).
COLLATERAL = "0xc011a7e12a19f7b1f670d46f03b03f3342e82dfb"
CONDITIONAL_TOKENS = "0x4d97dcd97ec945f40cf65f87097ace5ea0476045"
POSITION_MANAGER = "0x006f54f7f9a22e0000cc2ab60031000000ae9fef"
COLLATERAL_ADAPTER = "0xada100db00ca00073811820692005400218fce1f"
ROUTER = "0x12121212006e4cd160d18e3f00711da5c3372600"
SAFE_MULTISEND = "0xa238cbeb142c10ef7ad8442c6d1f9e89e07e7761"
PROXY_FACTORY = "0xab45c5a4b0c941a2f231c04c3f49182e1a254052"
DEPOSIT_WALLET_FACTORY = "0x00000000000fb5c9adea0298d729a0cb3823cc07"
RELAY_HUB = "0xd216153c06e857cd7f72665e0af1d7d82172f494"

SPLIT_POSITION = bytes.fromhex("72ce4275")  # splitPosition(address,bytes32,bytes32,uint256[],uint256)
MERGE_POSITIONS = bytes.fromhex("9e7212ad")  # mergePositions(address,bytes32,bytes32,uint256[],uint256)
REDEEM_POSITIONS = bytes.fromhex("01b7037c")  # redeemPositions(address,bytes32,bytes32,uint256[])
ROUTER_SPLIT = bytes.fromhex("82d3b9f1")  # split(bytes31,uint256)
ROUTER_MERGE = bytes.fromhex("5b63685e")  # merge(bytes31,uint256)
ROUTER_REDEEM = bytes.fromhex("d217a3cc")  # redeem(bytes31,uint256,uint256)
APPROVE = bytes.fromhex("095ea7b3")  # approve(address,uint256)
SET_APPROVAL_FOR_ALL = bytes.fromhex("a22cb465")  # setApprovalForAll(address,bool)
MULTI_SEND = bytes.fromhex("8d80ff0a")  # multiSend(bytes)
PROXY = bytes.fromhex("34ee9791")  # proxy((uint8,address,uint256,bytes)[])

AMOUNT_MAX = 10**15
"""Millionths; a billion shares. Approvals alone may be larger: the client approves 2^256 - 1."""
CALLS_MAX = 100
BINARY = (1, 2)
"""The index sets of Up and Down."""
BINARY_OUTCOMES = (0, 1)


class ChainCall(msgspec.Struct, frozen=True):
    """One call of a transaction: contract address in lower case, and its bytes."""

    target: str
    data: bytes


class Split(msgspec.Struct, frozen=True):
    """`amount` millionths of pUSD into as many of each outcome."""

    condition: ConditionId
    amount: int


class Merge(msgspec.Struct, frozen=True):
    condition: ConditionId
    amount: int


class Redeem(msgspec.Struct, frozen=True):
    """`outcome` and `amount` are None for the whole balance of both, which is all that v1 can do."""

    condition: ConditionId
    outcome: Outcome | None = None
    amount: int | None = None


class Approve(msgspec.Struct, frozen=True):
    """Whoever `spender` is may move the wallet's `token` (a contract's address); `amount` 0 takes it back."""

    token: str
    spender: str
    amount: int


Action = Split | Merge | Redeem | Approve


def action_of(call: ChainCall) -> Action:
    """What the call does. Raises BadInput for every call these contracts do not have."""
    selector, body = call.data[:4], call.data[4:]
    match call.target, selector:
        case (contract, kind) if contract == COLLATERAL_ADAPTER and kind in (SPLIT_POSITION, MERGE_POSITIONS):
            token, parent, condition, partition, amount = _arguments(
                body, "address", "bytes32", "bytes32", "uint256[]", "uint256"
            )
            _check_binary(token, parent, partition)
            made = Split if kind == SPLIT_POSITION else Merge
            return made(_condition(condition), _amount(amount))
        case (contract, kind) if contract == COLLATERAL_ADAPTER and kind == REDEEM_POSITIONS:
            token, parent, condition, index_sets = _arguments(body, "address", "bytes32", "bytes32", "uint256[]")
            _check_binary(token, parent, index_sets)
            return Redeem(_condition(condition))
        case (contract, kind) if contract == ROUTER and kind in (ROUTER_SPLIT, ROUTER_MERGE):
            condition, amount = _arguments(body, "bytes31", "uint256")
            made = Split if kind == ROUTER_SPLIT else Merge
            return made(_condition(condition), _amount(amount))
        case (contract, kind) if contract == ROUTER and kind == ROUTER_REDEEM:
            condition, outcome, amount = _arguments(body, "bytes31", "uint256", "uint256")
            if outcome not in BINARY_OUTCOMES:
                raise BadInput(f"execution reverted: outcome {outcome} is neither 0 nor 1")
            return Redeem(_condition(condition), Outcome(outcome), _amount(amount))
        case (contract, kind) if kind == APPROVE:
            spender, amount = _arguments(body, "address", "uint256")
            return Approve(contract, spender, amount)
        case (contract, kind) if kind == SET_APPROVAL_FOR_ALL:
            operator, is_approved = _arguments(body, "address", "bool")
            return Approve(contract, operator, int(is_approved))
    raise BadInput(f"execution reverted: {call.target} has no function 0x{selector.hex()}")


def safe_calls(target: str, data: bytes, operation: int) -> list[ChainCall]:
    """The calls of a Safe transaction: the one given, or by delegation those packed for `multiSend`."""
    if operation == 0:
        return [ChainCall(target, data)]
    if operation != 1 or target != SAFE_MULTISEND or data[:4] != MULTI_SEND:
        raise BadInput("a Safe may delegate to multiSend only")
    (packed,) = _arguments(data[4:], "bytes")
    calls: list[ChainCall] = []
    at = 0
    while at < len(packed):
        if len(calls) == CALLS_MAX:
            raise BadInput(f"more than {CALLS_MAX} calls in one transaction")
        head, at = packed[at : at + 85], at + 85
        size = int.from_bytes(head[53:85], "big")
        body, at = packed[at : at + size], at + size
        if len(head) != 85 or len(body) != size or head[0] != 0:
            raise BadInput("the packed calls of multiSend are torn, or not plain calls")
        calls.append(ChainCall("0x" + head[1:21].hex(), body))
    return calls


def proxy_calls(data: bytes) -> list[ChainCall]:
    """The calls of a proxy wallet's transaction."""
    if data[:4] != PROXY:
        raise BadInput("a proxy transaction calls proxy((uint8,address,uint256,bytes)[])")
    (rows,) = _arguments(data[4:], "(uint8,address,uint256,bytes)[]")
    if len(rows) > CALLS_MAX or any(kind != 1 for kind, _, _, _ in rows):
        raise BadInput(f"more than {CALLS_MAX} calls, or one that is not a plain call")
    return [ChainCall(to, body) for _, to, _, body in rows]


def _arguments(body: bytes, *types: str) -> Sequence[Any]:
    try:
        return decode(list(types), body)
    except (DecodingError, OverflowError) as error:
        raise BadInput(f"execution reverted: arguments are not ({','.join(types)}): {error}") from error


def _check_binary(token: str, parent: bytes, sets: Sequence[int]) -> None:
    if token != COLLATERAL or any(parent) or tuple(sets) != BINARY:
        raise BadInput("execution reverted: not pUSD, not a top-level condition, or not its two outcomes")


def _condition(raw: bytes) -> ConditionId:
    """Protocol V2's 31 bytes are served with a 32nd (polymarket.md 1.4)."""
    return ConditionId("0x" + raw.hex().ljust(64, "0"))


def _amount(amount: int) -> int:
    if not 0 < amount <= AMOUNT_MAX:
        raise BadInput(f"execution reverted: amount {amount} is zero or beyond any balance")
    return amount
