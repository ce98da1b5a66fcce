"""The relayer's own rules: nonces, quota, states, failures; and batches that are done whole or not at all."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Money, Price
from polybot.exchange.chain import Chain
from polybot.exchange.chain_calls import Action, Approve, Merge, Redeem, Split
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Address, Listing, Refused, Rules
from polybot.exchange.relayer import Relayer, RelayState, RelayTerms, Transaction
from polybot.exchange.signatures import EXCHANGE
from polybot.exchange.timetable import plan_series
from tests.exchange.tapes import PRESENT_START, plain_windows

WALLET, SIGNER = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
NOW = PRESENT_START


class Bench:
    def __init__(self, version: str = "v1") -> None:
        self.engine = Engine(Rules(), random.Random(1))
        (plan,) = plan_series(plain_windows(1), ["BTC"], version=version)
        self.market = plan.market(NOW)
        self.engine.list_market(Listing(market=self.market, number=1), NOW)
        self.engine.deposit(WALLET, Money(100 * UNIT))
        self.chain = Chain(self.engine)
        self.relayer = Relayer(self.chain.execute, RelayTerms())

    def submit(self, *actions: Action, nonce: int | None = None, at: int = 0) -> Transaction | Refused:
        transaction = Transaction(
            id="",
            kind="WALLET",
            signer=SIGNER,
            wallet=WALLET,
            actions=actions,
            metadata="",
            created_at=Millis(NOW + at),
        )
        return self.relayer.submit(transaction, self.relayer.nonce(SIGNER, "WALLET") if nonce is None else nonce)

    def state_of(self, taken: Transaction | Refused) -> RelayState:
        assert isinstance(taken, Transaction), taken
        found = self.relayer.transaction(taken.id)
        assert found is not None
        return found.state

    def holds(self) -> tuple[int, int, int]:
        """pUSD, Up and Down, in whole units."""
        up, down = (self.chain.shares(WALLET, token) // UNIT for token in self.market.tokens or ())
        return self.chain.cash(WALLET) // UNIT, up, down

    def snapshot(self) -> tuple[int, dict[str, int], dict[str, int]]:
        """To the millionth: pUSD, what is held of each token, what is locked in each market."""
        account = self.engine.account(WALLET)
        held = {str(token): int(shares) for token, shares in account.shares.items() if shares}
        return int(account.cash), held, {str(name): int(amount) for name, amount in self.engine.bank.locked.items()}


def test_a_transaction_is_new_then_executed_then_mined_then_confirmed_and_acts_when_mined() -> None:
    bench = Bench()
    taken = bench.submit(Split(bench.market.condition_id, 10 * UNIT))
    seen = []
    for after in (0, 500, 1_499, 1_500, 2_500):
        bench.relayer.step(Millis(NOW + after))
        seen.append((bench.state_of(taken).removeprefix("STATE_"), bench.holds()[1]))
    assert seen == [("NEW", 0), ("EXECUTED", 0), ("EXECUTED", 0), ("MINED", 10), ("CONFIRMED", 10)]


def test_split_merge_and_redeem_move_what_they_should() -> None:
    bench = Bench()
    bench.submit(Split(bench.market.condition_id, 10 * UNIT), Merge(bench.market.condition_id, 4 * UNIT))
    bench.relayer.step(Millis(NOW + 5_000))
    assert bench.holds() == (94, 6, 6)
    bench.engine.resolve(bench.market.id, Price(UNIT), Millis(NOW + 6_000))
    bench.submit(Redeem(bench.market.condition_id), at=7_000)
    bench.relayer.step(Millis(NOW + 20_000))
    assert bench.holds() == (100, 0, 0)


def test_protocol_v2_redeems_one_outcome_at_a_time() -> None:
    bench = Bench("v2")
    condition = bench.market.condition_id
    bench.submit(Split(condition, 10 * UNIT))
    bench.relayer.step(Millis(NOW + 5_000))
    bench.engine.resolve(bench.market.id, Price(0), Millis(NOW + 6_000))
    bench.submit(Redeem(condition, Outcome.DOWN, 10 * UNIT), at=7_000)
    bench.relayer.step(Millis(NOW + 20_000))
    assert bench.holds() == (100, 10, 0)
    assert bench.engine.bank.held() == bench.engine.bank.deposited


def test_a_batch_with_one_impossible_call_changes_nothing() -> None:
    bench = Bench()
    taken = bench.submit(Split(bench.market.condition_id, 10 * UNIT), Redeem(bench.market.condition_id))
    bench.relayer.step(Millis(NOW + 20_000))
    assert bench.state_of(taken) is RelayState.FAILED
    assert bench.holds() == (100, 0, 0)
    assert bench.engine.bank.held() == bench.engine.bank.deposited


def test_a_wrong_nonce_is_refused_in_the_words_the_official_client_reads() -> None:
    refused = Bench().submit(nonce=3)
    assert refused == Refused(text="batch nonce 3 does not match on-chain nonce 0")


def test_a_wallet_has_one_action_in_flight_until_it_is_mined() -> None:
    bench = Bench()
    bench.submit(Split(bench.market.condition_id, UNIT))
    assert bench.submit(Split(bench.market.condition_id, UNIT)) == Refused(text="wallet has in-flight action")
    bench.relayer.step(Millis(NOW + 1_500))
    assert isinstance(bench.submit(Split(bench.market.condition_id, UNIT), at=1_500), Transaction)


def test_the_twenty_sixth_submission_of_a_minute_is_refused_and_one_a_minute_later_is_not() -> None:
    relayer = Bench().relayer
    answers = [relayer.spend_quota("key", Millis(NOW + number)) for number in range(26)]
    assert answers[:25] == [None] * 25
    assert answers[25] is not None
    assert answers[25].status == 429
    assert relayer.spend_quota("other key", NOW) is None
    assert relayer.spend_quota("key", Millis(NOW + 60_000)) is None


def test_the_rehearsals_switches_make_transactions_fail_or_invalid_without_effect() -> None:
    bench = Bench()
    bench.relayer.failing = 1
    failed = bench.submit(Split(bench.market.condition_id, UNIT))
    bench.relayer.step(Millis(NOW + 5_000))
    bench.relayer.invalid = 1
    invalid = bench.submit(Split(bench.market.condition_id, UNIT), at=5_000)
    bench.relayer.step(Millis(NOW + 10_000))
    assert (bench.state_of(failed), bench.state_of(invalid)) == (RelayState.FAILED, RelayState.INVALID)
    assert bench.holds() == (100, 0, 0)


def test_an_approval_taken_back_forbids_trading() -> None:
    bench = Bench()
    bench.submit(Approve("0xany", EXCHANGE.lower(), 0))
    bench.relayer.step(Millis(NOW + 5_000))
    assert not bench.chain.is_approved(WALLET)


ACTIONS = st.tuples(st.sampled_from([Split, Merge, Redeem]), st.integers(1, 60 * UNIT))


@given(batches=st.lists(st.lists(ACTIONS, min_size=1, max_size=4), max_size=8), resolved_after=st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_whatever_is_submitted_no_money_is_made_or_lost_and_a_failed_batch_leaves_no_trace(
    batches: list[list[tuple[type, int]]], resolved_after: int
) -> None:
    bench = Bench()
    condition, bank = bench.market.condition_id, bench.engine.bank
    for number, batch in enumerate(batches):
        if number == resolved_after:
            bench.engine.resolve(bench.market.id, Price(UNIT), Millis(NOW + number))
        before = bench.snapshot()
        actions = [Redeem(condition) if kind is Redeem else kind(condition, amount) for kind, amount in batch]
        error = bench.chain.execute(WALLET, actions, Millis(NOW + number))
        assert not error or bench.snapshot() == before
        assert bank.held() == bank.deposited
        account = bench.engine.account(WALLET)
        assert account.cash >= 0
        assert all(shares >= 0 for shares in account.shares.values())
