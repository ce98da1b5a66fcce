"""The chain as the exchange has it: calls done on the engine all or none, and the balances contracts are asked for."""

from collections.abc import Sequence

from polybot.domain.errors import BadInput, LedgerError
from polybot.domain.ids import TokenId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Money, Shares
from polybot.exchange.chain_calls import Action, Approve, Merge, Redeem, Split
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Address
from polybot.exchange.core.news import PositionsMoved
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.signatures import SPENDERS

EXCHANGES = tuple(spender.lower() for spender in SPENDERS)
"""Who moves a wallet's pUSD and shares when its orders are matched: the exchanges of protocol v1 and v2."""
REVERTED = "execution reverted: "


class Chain:
    """Contracts' view of the engine. Synchronous: a transaction is one step, and nothing sees the middle of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def execute(self, wallet: Address, actions: Sequence[Action], now: Millis) -> str:
        """Do all of them, or none and say why; "" where they are done. Callers publish the engine's news."""
        return self._attempt(wallet, actions, now, keep=True)

    def try_out(self, wallet: Address, actions: Sequence[Action], now: Millis) -> str:
        """Why they would be reverted, "" where they could be done. Nothing is changed."""
        return self._attempt(wallet, actions, now, keep=False)

    def _attempt(self, wallet: Address, actions: Sequence[Action], now: Millis, *, keep: bool) -> str:
        engine, reverted = self._engine, ""
        engine.advance(now)
        account, bank = engine.account(wallet), engine.bank
        kept = (account.cash, dict(account.shares), account.approved, dict(bank.locked), len(engine.state.news))
        try:
            for action in actions:
                self._do(wallet, action, now)
        except (BadInput, LedgerError) as error:
            reverted = str(error) if str(error).startswith(REVERTED) else f"{REVERTED}{error}"
        if reverted or not keep:
            account.cash, account.shares, account.approved, bank.locked, news = kept
            del engine.state.news[news:]
        return reverted

    def shares(self, wallet: Address, token: TokenId) -> Shares:
        account = self._engine.bank.accounts.get(wallet)
        return Shares(0) if account is None else account.shares_of(token)

    def cash(self, wallet: Address) -> Money:
        account = self._engine.bank.accounts.get(wallet)
        return Money(0) if account is None else account.cash

    def is_approved(self, wallet: Address) -> bool:
        account = self._engine.bank.accounts.get(wallet)
        return account is None or account.approved

    def _do(self, wallet: Address, action: Action, now: Millis) -> None:
        match action:
            case Approve():
                if action.spender in EXCHANGES:
                    self._engine.account(wallet).approved = action.amount > 0
            case Split():
                self._engine.split(wallet, self._board(action).market, Money(action.amount), now)
            case Merge():
                self._engine.merge(wallet, self._board(action).market, Money(action.amount), now)
            case Redeem(outcome=None):
                self._engine.redeem(wallet, self._board(action).market, now)
            case Redeem():
                self._redeem_one(wallet, action, now)

    def _board(self, action: Split | Merge | Redeem) -> MarketBoard:
        board = self._engine.board_of_condition(action.condition)
        if board is None:
            raise BadInput(f"{REVERTED}condition {action.condition} is not prepared")
        return board

    def _redeem_one(self, wallet: Address, action: Redeem, now: Millis) -> None:
        """Protocol v2 redeems one outcome by amount; here only the whole balance, which is what the client asks for."""
        board, bank, account = self._board(action), self._engine.bank, self._engine.account(wallet)
        outcome = action.outcome or Outcome.UP
        token = board.listing.tokens[outcome]
        if board.payout_up is None:
            raise BadInput(f"{REVERTED}result for condition not received yet")
        if account.shares_of(token) != action.amount:
            raise BadInput(f"{REVERTED}the balance is {account.shares_of(token)}, not {action.amount}")
        paid = bank.redeem(wallet, board.market, [board.payouts()[outcome]])
        gone = (Shares(-(action.amount or 0)), Shares(0))
        shares = gone if outcome is Outcome.UP else (gone[1], gone[0])
        self._engine.state.say(PositionsMoved(now, "REDEEM", wallet, board.market, paid, shares))
