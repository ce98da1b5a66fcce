"""Calls as the official client encodes them, read by the exchange; and everything else refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polymarket._internal.actions.relayer import calls as client_calls
from polymarket.types import EvmAddress

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId
from polybot.domain.market import Outcome
from polybot.exchange import chain_calls as chain
from polybot.exchange.chain_calls import Approve, ChainCall, Merge, Redeem, Split, action_of, proxy_calls, safe_calls

CONDITION = ConditionId("0x" + "ab" * 32)
CONDITION_V2 = ConditionId("0x01" + "cd" * 16 + "00" * 15)
COLLATERAL, ADAPTER, ROUTER = (
    EvmAddress(chain.COLLATERAL),
    EvmAddress(chain.COLLATERAL_ADAPTER),
    EvmAddress(chain.ROUTER),
)


def read(call: client_calls.TransactionCall) -> chain.Action:
    return action_of(ChainCall(str(call.to).lower(), bytes.fromhex(call.data[2:])))


def merge_call(amount: int) -> client_calls.TransactionCall:
    return client_calls.ctf_merge_positions_call(
        target=ADAPTER, collateral=COLLATERAL, condition_id=CONDITION, amount=amount
    )


def test_split_merge_and_redeem_of_protocol_v1() -> None:
    split = client_calls.ctf_split_position_call(
        target=ADAPTER, collateral=COLLATERAL, condition_id=CONDITION, amount=5_000_000
    )
    redeem = client_calls.ctf_redeem_positions_call(ctf=ADAPTER, collateral=COLLATERAL, condition_id=CONDITION)
    assert [read(split), read(merge_call(7)), read(redeem)] == [
        Split(CONDITION, 5_000_000),
        Merge(CONDITION, 7),
        Redeem(CONDITION),
    ]


def test_split_merge_and_redeem_of_protocol_v2() -> None:
    split = client_calls.router_split_call(router=ROUTER, condition_id=CONDITION_V2, amount=9)
    merge = client_calls.router_merge_call(router=ROUTER, condition_id=CONDITION_V2, amount=9)
    redeem = client_calls.router_redeem_call(router=ROUTER, condition_id=CONDITION_V2, outcome_index=1, amount=9)
    assert [read(split), read(merge), read(redeem)] == [
        Split(CONDITION_V2, 9),
        Merge(CONDITION_V2, 9),
        Redeem(CONDITION_V2, Outcome.DOWN, 9),
    ]


def test_approvals() -> None:
    spender = "0x" + "22" * 20
    approval = client_calls.erc20_approval_call(
        token_address=COLLATERAL, spender=EvmAddress(spender), amount=client_calls.MAX_UINT256
    )
    assert read(approval) == Approve(chain.COLLATERAL, spender, client_calls.MAX_UINT256)


def three_calls() -> list[client_calls.TransactionCall]:
    return [merge_call(amount) for amount in (1, 2, 3)]


def test_a_safes_packed_calls_come_out_one_by_one() -> None:
    packed = bytes.fromhex(client_calls.encode_safe_multisend_call(three_calls())[2:])
    found = safe_calls(chain.SAFE_MULTISEND, packed, 1)
    assert [action_of(call) for call in found] == [Merge(CONDITION, n) for n in (1, 2, 3)]


def test_a_proxys_calls_come_out_one_by_one() -> None:
    found = proxy_calls(bytes.fromhex(client_calls.encode_proxy_call(three_calls())[2:]))
    assert [action_of(call) for call in found] == [Merge(CONDITION, n) for n in (1, 2, 3)]


def test_a_safe_delegates_to_nobody_but_multisend() -> None:
    with pytest.raises(BadInput, match="multiSend only"):
        safe_calls(chain.COLLATERAL, b"", 1)


def test_another_token_than_pusd_is_reverted() -> None:
    call = client_calls.ctf_redeem_positions_call(ctf=ADAPTER, collateral=ROUTER, condition_id=CONDITION)
    with pytest.raises(BadInput, match="not pUSD"):
        read(call)


def test_a_call_to_another_contract_is_reverted() -> None:
    call = client_calls.ctf_redeem_positions_call(ctf=ROUTER, collateral=COLLATERAL, condition_id=CONDITION)
    with pytest.raises(BadInput, match="has no function"):
        read(call)


SELECTORS = [chain.SPLIT_POSITION, chain.REDEEM_POSITIONS, chain.ROUTER_REDEEM, chain.APPROVE, chain.MULTI_SEND]


@given(st.sampled_from(SELECTORS), st.binary(max_size=400), st.sampled_from([chain.COLLATERAL_ADAPTER, chain.ROUTER]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_action_or_refused(selector: bytes, body: bytes, target: str) -> None:
    for reading in (
        lambda: action_of(ChainCall(target, selector + body)),
        lambda: safe_calls(chain.SAFE_MULTISEND, chain.MULTI_SEND + body, 1),
        lambda: proxy_calls(chain.PROXY + body),
    ):
        try:
            reading()
        except BadInput:
            continue
