"""The little of Polygon's JSON-RPC that the official client asks: balances, approvals, the block's time, a receipt."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from polybot.domain.errors import BadInput
from polybot.domain.ids import TokenId
from polybot.domain.units import Millis
from polybot.exchange.chain import Chain
from polybot.exchange.chain_calls import COLLATERAL, DEPOSIT_WALLET_FACTORY
from polybot.exchange.core.model import Address
from polybot.exchange.relayed_signatures import CHAIN_ID

BEACON = "0x7a18edfe055488a3128f01f563e5b479d92ffc3a"
"""What the deposit wallet factory names as its wallets' beacon."""
REQUESTS_MAX = 500
BLOCK_MS = 1_500
"""Polygon's block time (polymarket.md 2.3)."""
MAX_UINT256 = (1 << 256) - 1
REVERT = 3
METHOD_NOT_FOUND = -32601


class RpcRequest(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[Any] = []


class RpcCall(msgspec.Struct):
    to: str
    data: str


class ChainRpc:
    """`now` is the exchange's clock; `receipt` tells whether a transaction hash was mined."""

    def __init__(self, chain: Chain, now: Callable[[], Millis], receipt: Callable[[str], bool]) -> None:
        self._chain, self._now, self._receipt = chain, now, receipt

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            asked = msgspec.json.decode(body, type=RpcRequest | list[RpcRequest])
        except msgspec.DecodeError as error:
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": str(error)}})
        answers: object = self._answer(asked) if isinstance(asked, RpcRequest) else None
        if isinstance(asked, list):
            answers = [self._answer(one) for one in asked[:REQUESTS_MAX]]
        return web.json_response(answers)

    def _answer(self, asked: RpcRequest) -> dict[str, Any]:
        answer = {"jsonrpc": "2.0", "id": asked.id}
        try:
            return answer | {"result": self._result(asked)}
        except (BadInput, DecodingError, msgspec.ValidationError, IndexError, ValueError) as error:
            return answer | {"error": {"code": REVERT, "message": f"execution reverted: {error}"}}
        except NotImplementedError:
            return answer | {"error": {"code": METHOD_NOT_FOUND, "message": f"{asked.method} is not served here"}}

    def _result(self, asked: RpcRequest) -> object:
        match asked.method:
            case "eth_chainId":
                return hex(CHAIN_ID)
            case "eth_blockNumber":
                return hex(self._now() // BLOCK_MS)
            case "eth_getBlockByNumber":
                return {"number": hex(self._now() // BLOCK_MS), "timestamp": hex(self._now() // 1000)}
            case "eth_estimateGas":
                return hex(200_000)
            case "eth_gasPrice" | "eth_getTransactionCount" | "eth_getBalance":
                return "0x0"
            case "eth_getTransactionReceipt":
                return {"transactionHash": asked.params[0], "status": "0x1"} if self._receipt(asked.params[0]) else None
            case "eth_call":
                call = msgspec.convert(asked.params[0], RpcCall)
                return self._call(call.to.lower(), bytes.fromhex(call.data.removeprefix("0x")))
            case _:
                raise NotImplementedError

    def _call(self, contract: str, data: bytes) -> str:
        selector, body = data[:4].hex(), data[4:]
        match selector:
            case "70a08231" if contract == COLLATERAL:  # balanceOf(address)
                (owner,) = decode(["address"], body)
                return _words("uint256", self._chain.cash(Address(owner)))
            case "00fdd58e":  # balanceOf(address,uint256)
                owner, token = decode(["address", "uint256"], body)
                return _words("uint256", self._chain.shares(Address(owner), TokenId(str(token))))
            case "4e1273f4":  # balanceOfBatch(address[],uint256[])
                owners, tokens = decode(["address[]", "uint256[]"], body)
                pairs = zip(owners, tokens, strict=True)
                return _words("uint256[]", [self._chain.shares(Address(o), TokenId(str(t))) for o, t in pairs])
            case "dd62ed3e":  # allowance(address,address)
                owner, _ = decode(["address", "address"], body)
                return _words("uint256", MAX_UINT256 if self._chain.is_approved(Address(owner)) else 0)
            case "e985e9c5":  # isApprovedForAll(address,address)
                owner, _ = decode(["address", "address"], body)
                return _words("bool", self._chain.is_approved(Address(owner)))
            case "49493a4d" if contract == DEPOSIT_WALLET_FACTORY:  # the factory's beacon
                return _words("address", BEACON)
            case _:
                raise BadInput(f"{contract} has no function 0x{selector}")


def _words(kind: str, value: object) -> str:
    return "0x" + encode([kind], [value]).hex()
