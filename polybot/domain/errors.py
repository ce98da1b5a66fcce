"""The named kinds of trouble the core can raise; each text says what to do (design.md D13)."""


class PolybotError(Exception):
    """Base of every error this project raises on purpose."""


class BadInput(PolybotError):
    """Something from outside (a file, a frame, a setting) cannot be read as what it claims to be."""


class BookError(PolybotError):
    """A book event that cannot be applied: it would leave a book that no venue can have."""


class OrderError(PolybotError):
    """An order was asked to make a step its state does not have: a bug, or a venue reply out of order."""


class LedgerError(PolybotError):
    """A movement of money that does not sum to zero, comes twice, or ends a hold that is not there."""
