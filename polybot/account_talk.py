"""What is said between a person and a floor about its account (`polybot account`): values only. Pure."""

import msgspec

from polybot.domain.units import Millis, Money, format_units


class ItemSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between the account and the books: booking anything from `least` to `most` makes them agree.

    They are the same where nothing is on its way. Millionths of a pUSD or of a share. `since`: when this process first
    saw it, None where it does not know. `is_first`: the others cannot be booked while it stands.
    """

    name: str
    least: int
    most: int
    text: str
    since: Millis | None = None
    is_first: bool = False

    @property
    def is_exact(self) -> bool:
        return self.least == self.most

    @property
    def span(self) -> str:
        """The amount to be given; two where anything between them will do."""
        return signed(self.least) if self.is_exact else f"between {signed(self.least)} and {signed(self.most)}"


class UnpaidSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A settled win that the chain has not paid yet; below 0: a complete set that was paid ahead. `at`: the latest."""

    market: str
    amount: Money
    at: Millis


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """The account as the floor last read it. `wallet` is all its pUSD, of which `elsewhere` is not the floor's.

    By the books the floor's part lies between `least` and `most` (None before the first comparison); they are the same
    where nothing is on its way. `cash` is what the desks have by the ledger, of which `unpaid` is not paid on chain yet
    (below 0: paid ahead), and `dust` never will be. `beside` are shares, by market and outcome, that somebody moved and
    accepted. `others` are troubles that are not to be booked, each with what makes it go away.
    """

    read_at: Millis | None
    wallet: Money | None
    elsewhere: Money | None
    least: Money | None
    most: Money | None
    cash: Money
    unpaid: Money
    dust: Money
    unpaid_of: tuple[UnpaidSeen, ...] = ()
    beside: dict[str, int] = {}
    items: tuple[ItemSeen, ...] = ()
    others: tuple[str, ...] = ()


class AccountAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`amounts` to be booked, by an item's name; None: only to look. `by` and `reason` are for the record."""

    id: str
    by: str
    amounts: dict[str, int] | None = None
    reason: str = ""


class AccountAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was `done`, or why nothing was (`refused`); one of them is "", both where somebody only looked."""

    id: str
    view: AccountView
    done: str = ""
    refused: str = ""


def signed(amount: int) -> str:
    return f"{'' if amount < 0 else '+'}{format_units(amount)}"
