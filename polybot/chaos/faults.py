"""The fault menu and the plan: what can go wrong, and what does go wrong in which minute of a seed's life.

Swarm testing: every hour of a seed switches a random part of the menu on, at a random heat, from wholly calm to
hellish, because faults that are always on together hide each other. The plan is drawn from the seed alone, before
anything runs; whether one order, reply or frame is hit is drawn from the seed and that thing's own name. So a seed has
the same faults whatever the floor does.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection
from hashlib import blake2b
from random import Random

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis

HOUR_MS = 3_600_000
SECOND = 1_000
MINUTE = 60_000


class FaultKind(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the menu. `per_hour` is the mean number of episodes in an hour of the usual heat; `lasts_ms` their
    shortest and longest; `share` the range their intensity is drawn from (a probability, unless the text says what)."""

    name: str
    text: str
    per_hour: float
    lasts_ms: tuple[int, int]
    share: tuple[float, float] = (1.0, 1.0)


def _kind(
    name: str, text: str, per_hour: float, lasts_ms: tuple[int, int], share: tuple[float, float] = (1.0, 1.0)
) -> FaultKind:
    return FaultKind(name=name, text=text, per_hour=per_hour, lasts_ms=lasts_ms, share=share)


MENU: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        _kind("feed_freeze", "the market socket stays open and says nothing", 4, (5 * SECOND, 120 * SECOND)),
        _kind("feed_gap", "messages are dropped", 4, (5 * SECOND, 60 * SECOND), (0.05, 0.5)),
        _kind("feed_duplicate", "messages come twice", 3, (10 * SECOND, 120 * SECOND), (0.05, 0.5)),
        _kind("feed_reorder", "messages overtake each other", 3, (5 * SECOND, 60 * SECOND), (0.05, 0.4)),
        _kind("feed_delay", "messages come late; 1 is six seconds", 2, (10_000, 90_000), (0.1, 1)),
        _kind("feed_stale_snapshot", "a snapshot is older than it looks", 4, (30 * SECOND, 300 * SECOND), (0.3, 1)),
        _kind("feed_contradiction", "best prices that are not the book's", 3, (2 * SECOND, 20 * SECOND), (0.05, 0.5)),
        _kind("feed_close", "the market socket is closed", 5, (1, 1)),
        _kind("feed_refused", "no new market socket is granted", 2, (2 * SECOND, 60 * SECOND), (0.3, 1)),
        _kind("feed_skew", "the source's clock is wrong; 1 is a minute", 2, (60_000, 600_000), (-1, 1)),
        _kind("feed_catalog_down", "the catalogue does not answer", 3, (5 * SECOND, 120 * SECOND), (0.3, 1)),
        _kind("feed_catalog_stale", "the catalogue's page is minutes old", 2, (60 * SECOND, 300 * SECOND)),
        _kind("feed_catalog_missing", "the catalogue leaves a window out", 2, (60 * SECOND, 600 * SECOND), (0.3, 1)),
        _kind("venue_busy", "425, 429 or 503: not taken, and said so", 4, (10 * SECOND, 300 * SECOND), (0.2, 1)),
        _kind("venue_error", "500 or 502: not taken, and nobody said so", 3, (10_000, 300_000), (0.2, 1)),
        _kind("venue_timeout_before", "no answer, and the order never arrived", 3, (10_000, 300_000), (0.2, 1)),
        _kind("venue_timeout_after", "no answer, but the order was taken", 4, (10_000, 600_000), (0.2, 1)),
        _kind("venue_slow_request", "no answer, and the order arrives seconds later", 4, (10_000, 600_000), (0.2, 1)),
        _kind("venue_lookup_fails", "a look-up is not answered, or with 429", 3, (5 * SECOND, 180 * SECOND), (0.3, 1)),
        _kind("venue_reply_late", "a reply comes up to a minute late", 3, (60_000, 900_000), (0.1, 0.8)),
        _kind("venue_reply_doubled", "a reply comes twice", 3, (60_000, 900_000), (0.1, 0.8)),
        _kind("venue_reply_reordered", "replies overtake each other", 3, (60_000, 900_000), (0.1, 0.8)),
        _kind("venue_reply_lost", "a reply never comes; only a look-up tells", 3, (60_000, 900_000), (0.1, 0.8)),
        _kind("venue_stream_outage", "the user socket is gone: nothing is told", 3, (5 * SECOND, 300 * SECOND)),
        _kind("venue_ghost_fills", "fills fail on chain, winners more often", 2, (300_000, HOUR_MS), (0.05, 0.35)),
        _kind("venue_partial_settlement", "some fills of an order stand, others fail", 0, (1, 1)),
        _kind("venue_late_finality", "fills become final only after minutes", 2, (300_000, 1_800_000), (0.1, 0.8)),
        _kind("venue_late_resolution", "a market is resolved minutes late", 1.5, (300_000, 1_800_000)),
        _kind("terms_fee", "the fee schedule changes", 1, (300_000, 2_400_000), (0, 1)),
        _kind("terms_taker_delay", "the hold on marketable orders changes", 1, (300_000, 2_400_000), (0, 1)),
        _kind("terms_rule_set", "the settlement rule changes to one nobody knows", 0.6, (300_000, 1_800_000)),
        _kind("terms_tick", "the tick becomes finer before its time", 1, (60_000, 900_000)),
        _kind("store_postgres_down", "PostgreSQL is gone", 2, (1 * SECOND, 1_200 * SECOND)),
        _kind("store_postgres_slow", "PostgreSQL answers late; 1 is ten seconds", 2, (10_000, 300_000), (0, 1)),
        _kind("store_redis_down", "Redis is gone", 2, (1 * SECOND, 1_200 * SECOND)),
        _kind("disk_slow", "a disk sync takes long; 1 is a second", 2, (10_000, 300_000), (0.01, 1)),
        _kind("disk_full", "the disk takes no more", 0.5, (5 * SECOND, 120 * SECOND)),
        _kind("disk_readonly", "the disk is read-only", 0.3, (5 * SECOND, 120 * SECOND)),
        _kind("disk_torn_write", "the last write before a kill is torn; 1 is all of it", 2, (1, 1), (0, 1)),
        _kind("disk_hang", "a disk sync never ends", 0.3, (1 * SECOND, 20 * SECOND), (0.02, 0.3)),
        _kind("disk_damage", "a bit of an old journal row is wrong; says which row", 0.3, (1, 1), (0, 1)),
        _kind("disk_lost", "the data folder is gone, and the database has it all", 0.2, (1, 1)),
        _kind("checkpoint_torn", "the newest checkpoint's end is missing; says where", 0.5, (1, 1), (0, 1)),
        _kind("checkpoint_damaged", "a bit of the newest checkpoint is wrong; says which", 0.5, (1, 1), (0, 1)),
        _kind("checkpoint_newer", "the newest checkpoint is of a newer version", 0.3, (1, 1)),
        _kind("checkpoint_gone", "the newest checkpoint is gone", 0.3, (1, 1)),
        _kind("store_postgres_fails", "transactions are rolled back", 1, (10_000, 300_000), (0.1, 0.8)),
        _kind("store_postgres_answer_lost", "committed, and the answer is lost", 1, (10_000, 300_000), (0.1, 0.8)),
        _kind("store_postgres_wiped", "somebody emptied PostgreSQL", 0.3, (1, 1)),
        _kind("process_kill", "the process is killed between two awaits", 6, (1, 1), (0, 1)),
        _kind("process_away", "the machine is off, for whole windows", 0.4, (60 * SECOND, 2_400 * SECOND)),
        _kind("agent_crash", "an agent raises", 4, (1, 1)),
        _kind("agent_hang", "an agent waits for ever", 2, (1, 1)),
        _kind("agent_leak", "an agent swallows its cancellation or keeps what it gets", 1, (1, 1)),
        _kind("clock_jump", "the machine's clock is wrong for a while; 1 is a minute", 1, (10_000, 600_000), (-1, 1)),
    )
}  # fmt: skip

HEATS = ((0.10, 0.0), (0.35, 0.5), (0.80, 1.0), (1.01, 2.5))
"""(share of hours up to here, factor on the menu's rates): calm, light, usual, hellish."""
SWITCHED_ON = 0.55
"""The share of the menu that is on in an hour."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One fault from `start_ms` to before `end_ms`."""

    name: str
    start_ms: Millis
    end_ms: Millis
    intensity: float


def draw(seed: int, what: str, subject: object) -> float:
    """Even in [0, 1), and the same for the same seed, question and subject everywhere."""
    digest = blake2b(f"{seed}/{what}/{subject}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def plan_episodes(seed: int, start_ms: int, span_ms: int, without: Collection[str] = ()) -> list[Episode]:
    """Every episode of a life of `span_ms`, in order of start. Names in `without` never happen."""
    found: list[Episode] = []
    for hour in range(-(-span_ms // HOUR_MS)):
        rng = Random(f"{seed}/faults/{hour}")
        began, temper = start_ms + hour * HOUR_MS, rng.random()
        heat = next(factor for share, factor in HEATS if temper < share)
        for kind in MENU.values():  # drawn for all, so that leaving one out does not move the others
            on = rng.random() < SWITCHED_ON
            for _ in range(int(2 * rng.random() * kind.per_hour * heat + 0.5)):
                episode = _episode(kind, began, rng)
                if on and kind.name not in without and episode.start_ms < start_ms + span_ms:
                    found.append(episode)
    return sorted(found, key=lambda episode: (episode.start_ms, episode.name, episode.end_ms))


def _episode(kind: FaultKind, began: int, rng: Random) -> Episode:
    start = began + int(rng.random() * HOUR_MS)
    shortest, longest = kind.lasts_ms
    part = rng.random()
    lasts = shortest + int((longest - shortest) * part * part)  # short ones are more frequent
    least, most = kind.share
    return Episode(
        name=kind.name,
        start_ms=Millis(start),
        end_ms=Millis(start + lasts),
        intensity=least + (most - least) * rng.random(),
    )


class Faults:
    """The plan of one seed, asked by everything that injects; and the count of what was injected."""

    def __init__(
        self,
        seed: int,
        start_ms: int,
        span_ms: int,
        *,
        without: Collection[str] = (),
        episodes: list[Episode] | None = None,
        log: Callable[[str, str], None] = lambda name, text: None,
    ) -> None:
        """`episodes` replaces the drawn plan (for tests); `log` gets each injection's name and text."""
        unknown = sorted(set(without) - MENU.keys())
        if unknown:
            raise BadInput(f"no such fault: {', '.join(unknown)}")
        self.seed = seed
        self.plan = plan_episodes(seed, start_ms, span_ms, without) if episodes is None else episodes
        self.counts: dict[str, int] = {}
        self._log = log
        self._of: dict[str, list[Episode]] = {}
        for episode in self.plan:
            self._of.setdefault(episode.name, []).append(episode)
        self._longest = {name: max(e.end_ms - e.start_ms for e in found) for name, found in self._of.items()}
        self._starts = {name: [e.start_ms for e in found] for name, found in self._of.items()}
        self._edges: dict[str, list[int]] = {}

    def of(self, name: str) -> list[Episode]:
        """The episodes of one fault, in order of start."""
        return self._of.get(name, [])

    def episode(self, name: str, now: int) -> Episode | None:
        """The episode of `name` in force at `now`, None where there is none; the earliest of several."""
        starts = self._starts.get(name)
        if starts is None:
            return None
        found = self._of[name]
        for place in range(bisect_left(starts, now - self._longest[name]), bisect_right(starts, now)):
            if now < found[place].end_ms:
                return found[place]
        return None

    def intensity(self, name: str, now: int) -> float | None:
        """How strong the fault is at `now`; None where it is not in force."""
        found = self.episode(name, now)
        return found.intensity if found is not None else None

    def strikes(self, name: str, now: int, subject: object) -> bool:
        """Whether the fault is in force and hits `subject`; if so it is counted."""
        found = self.episode(name, now)
        if found is None or draw(self.seed, name, subject) >= found.intensity:
            return False
        self.note(name, str(subject))
        return True

    def draw(self, what: str, subject: object) -> float:
        """A number in [0, 1) that depends on seed, question and subject alone."""
        return draw(self.seed, what, subject)

    def note(self, name: str, text: str = "") -> None:
        """Count one injection."""
        if name not in MENU:
            raise BadInput(f"no such fault: {name}")
        self.counts[name] = self.counts.get(name, 0) + 1
        self._log(name, text)

    def edges(self, prefix: str) -> list[int]:
        """Every moment at which a fault whose name starts so begins or ends, ascending."""
        found = self._edges.get(prefix)
        if found is None:
            moments = {e.start_ms for e in self.plan if e.name.startswith(prefix)}
            moments |= {e.end_ms for e in self.plan if e.name.startswith(prefix)}
            found = self._edges[prefix] = sorted(moments)
        return found

    def in_force(self, prefix: str, now: int) -> tuple[frozenset[str], int]:
        """The names in force at `now`, and until when that stays so (2**62: for good)."""
        edges = self.edges(prefix)
        place = bisect_right(edges, now)
        until = edges[place] if place < len(edges) else 2**62
        names = (n for n in self._of if n.startswith(prefix) and self.episode(n, now) is not None)
        return frozenset(names), until
