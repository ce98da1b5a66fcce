"""The little of Polygon's JSON-RPC that the official client asks: balances, approvals, the block's time, receipts, and
the transactions of a key that pays for itself."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from polybot.domain.errors import BadInput
from polybot.domain.ids import TokenId
from polybot.domain.units import Millis
from polybot.exchange.chain import REVERTED, Chain
from polybot.exchange.chain_calls import COLLATERAL, DEPOSIT_WALLET_FACTORY, PROXY_FACTORY, ChainCall, action_of
from polybot.exchange.core.model import Address
from polybot.exchange.mempool import GAS_PRICE, GAS_USED, Mempool
from polybot.exchange.raw_transactions import NodeError, read_raw
from polybot.exchange.signatures import CHAIN_ID

BEACON = "0x7a18edfe055488a3128f01f563e5b479d92ffc3a"
"""What the deposit wallet factory names as its wallets' beacon."""
REQUESTS_MAX = 500
BLOCK_MS = 1_500
"""Polygon's block time (polymarket.md 2.3)."""
MAX_UINT256 = (1 << 256) - 1
REVERT = 3
NOT_TAKEN = -32000
METHOD_NOT_FOUND = -32601


class RpcRequest(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[Any] = []


class RpcCall(msgspec.Struct):
    to: str
    data: str
    sender: str = msgspec.field(name="from", default="")


class ChainRpc:
    """`now` is the exchange's clock; `relayed` tells whether the relayer's transaction of that hash was mined; `mine`
    lets happen what is due, before a receipt is looked for."""

    def __init__(
        self,
        chain: Chain,
        mempool: Mempool,
        now: Callable[[], Millis],
        relayed: Callable[[str], bool],
        mine: Callable[[], None],
    ) -> None:
        self._chain, self._mempool, self._now, self._relayed, self._mine = chain, mempool, now, relayed, mine

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
        except NodeError as error:
            return answer | {"error": {"code": NOT_TAKEN, "message": str(error)}}
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
            case "eth_call":
                call = msgspec.convert(asked.params[0], RpcCall)
                return self._call(call.to.lower(), _bytes(call.data))
            case _:
                return self._transacted(asked)

    def _transacted(self, asked: RpcRequest) -> object:
        """All that a key asks which pays for itself."""
        match asked.method:
            case "eth_estimateGas":
                return self._estimate(msgspec.convert(asked.params[0], RpcCall))
            case "eth_gasPrice":
                return hex(GAS_PRICE)
            case "eth_getTransactionCount":
                return hex(self._mempool.nonce(Address(_text(asked).lower())))
            case "eth_getBalance":
                return hex(self._mempool.pol(Address(_text(asked).lower())))
            case "eth_sendRawTransaction":
                transaction = read_raw(_bytes(_text(asked)))
                self._mempool.take(transaction, self._now())
                return transaction.hash
            case "eth_getTransactionReceipt":
                return self._receipt(_text(asked))
            case _:
                raise NotImplementedError

    def _estimate(self, call: RpcCall) -> str:
        """What would be reverted is told before it costs anything. The inside of a proxy's call is the relayer's."""
        target = call.to.lower()
        if target != PROXY_FACTORY:
            action = action_of(ChainCall(target, _bytes(call.data)))
            if reverted := self._chain.try_out(Address(call.sender.lower()), [action], self._now()):
                raise BadInput(reverted.removeprefix(REVERTED))
        return hex(GAS_USED)

    def _receipt(self, name: str) -> dict[str, str] | None:
        """A block's: mined is all there is, as far as the official client asks."""
        self._mine()
        receipt = self._mempool.receipt(name)
        if receipt is None and not self._relayed(name):
            return None
        return {"transactionHash": name, "status": "0x0" if receipt is not None and receipt.error else "0x1"}

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


def _text(asked: RpcRequest) -> str:
    """The first parameter."""
    return msgspec.convert(asked.params[0], str)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _words(kind: str, value: object) -> str:
    return "0x" + encode([kind], [value]).hex()
