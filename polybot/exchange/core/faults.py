"""What can be made to go wrong, and whether it does so now. Pure: the switches are thrown over HTTP (control.py)."""

import msgspec

from polybot.domain.units import Millis
from polybot.exchange.core.model import Address

FOR_EVER = -1


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way a request goes wrong, `times` times (-1: until it is cleared). All of `host`, `method`, `path` must fit.

    `delay_ms` comes first. Then, with `after` False, the request is not handled: it is answered with `status` and
    `text`, or with status 0 the connection is cut. With `after` True it is handled first and its answer is lost in the
    same way: the order was taken, and nobody was told. Neither status nor `cut`: only the delay.
    """

    host: str = "clob"
    method: str = ""
    path: str = ""
    """The beginning of the path, without the host's prefix; "" fits all."""
    times: int = 1
    delay_ms: int = 0
    status: int = 0
    text: str = ""
    cut: bool = False
    after: bool = False


class Geoblock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    blocked: bool = False
    ip: str = "127.0.0.1"
    country: str = "IE"
    region: str = ""


class Faults:
    """The switches. Times in milliseconds. Every field may be read at any time; control.py sets them."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self.geoblock = Geoblock()
        self.banned: set[Address] = set()
        self.closed_only: set[Address] = set()
        self.trading = "open"
        """Or "disabled" (503 for all, cancels too) or "cancel-only" (503 for orders)."""
        self.frozen: set[str] = set()
        """Sockets ("market", "user", "rtds", "polybolt") that stay open, answer PING, and send nothing."""
        self.restarted_at: Millis | None = None
        self.down_until = self.post_only_until = Millis(0)
        self.order_version = 2
        self.deposit_wallets_only = False
        self.answers_refusals_with_200 = False

    def take(self, host: str, method: str, path: str) -> Fault | None:
        """The first fault that fits this request; it is used up by one."""
        for index, fault in enumerate(self.pending):
            if fault.host == host and fault.method in ("", method) and path.startswith(fault.path):
                if fault.times != FOR_EVER:
                    left = msgspec.structs.replace(fault, times=fault.times - 1)
                    self.pending[index : index + 1] = [left] if left.times > 0 else []
                return fault
        return None

    def restart(self, now: Millis, down_ms: int, post_only_ms: int) -> None:
        """The engine goes down, and comes back in post-only mode (polymarket.md 6.6)."""
        self.restarted_at = now
        self.down_until = Millis(now + down_ms)
        self.post_only_until = Millis(now + down_ms + post_only_ms)

    def is_down(self, now: Millis) -> bool:
        return now < self.down_until

    def is_post_only(self, now: Millis) -> bool:
        return self.down_until <= now < self.post_only_until
