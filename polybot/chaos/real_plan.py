"""What is done to a running floor, drawn from a seed: lives that end with a kill, and what hits the servers meanwhile.

Pure. Which process is hit at which moment of *its* work is up to the machine; the plan is the same for the same seed.
"""

import enum
import random

import msgspec

PATIENT_SHARE = 0.8
"""Of the lives that may reach trading before anything is done to them; the others are struck while they start."""
TOGETHER_SHARE = 0.25
FREEZE_SHARE = 0.25
PART_SHARE = 0.25
PATIENT_S = (0.2, 2.5)
IMPATIENT_S = (0.05, 1.5)
DOWN_S = (0.0, 3.0)
FREEZE_S = (0.2, 2.0)
CHECKPOINTS_S = (0.4, 2.0, 30.0)
KILLS_PER_LIFE = 3


class Target(enum.StrEnum):
    SERVICE = "service"
    DATABASE = "database"
    CACHE = "cache"


SERVERS = (Target.DATABASE, Target.CACHE)


class Deed(enum.StrEnum):
    KILL = "kill"
    """SIGKILL."""
    FREEZE = "freeze"
    """SIGSTOP, and SIGCONT after a while."""


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """`after_s` counts from the start of trading in a patient life, else from the launch. `seconds`: how long a killed
    server stays away, or how long a frozen process stands. `part`: of the database, one backend and not the whole."""

    after_s: float
    target: Target
    deed: Deed
    seconds: float = 0.0
    part: bool = False


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the service from its launch to its kill, the last of `strikes`."""

    patient: bool
    strikes: tuple[Strike, ...]
    checkpoint_s: float
    """The setting it is given: kills shall fall before, between and into checkpoints."""

    @property
    def ends_with(self) -> frozenset[Target]:
        """What is killed at the very moment the service is."""
        last = self.strikes[-1].after_s
        return frozenset(s.target for s in self.strikes if s.deed is Deed.KILL and s.after_s == last)


def plan_lives(kills: int, seed: int) -> list[Life]:
    """Lives for `kills` kills, rounded up to whole lives: each kills service, database and cache once."""
    chance = random.Random(seed)
    return [_life(chance) for _ in range(-(-kills // KILLS_PER_LIFE))]


def _life(chance: random.Random) -> Life:
    patient = chance.random() < PATIENT_SHARE
    span = chance.uniform(*(PATIENT_S if patient else IMPATIENT_S))
    strikes = [Strike(after_s=span, target=Target.SERVICE, deed=Deed.KILL)]
    for server in SERVERS:
        after = span if chance.random() < TOGETHER_SHARE else chance.uniform(0, span)
        part = server is Target.DATABASE and chance.random() < PART_SHARE
        away = chance.uniform(*DOWN_S)
        strikes.append(Strike(after_s=after, target=server, deed=Deed.KILL, seconds=away, part=part))
    if chance.random() < FREEZE_SHARE:
        target, after = chance.choice(list(Target)), chance.uniform(0, span * 0.8)
        strikes.append(Strike(after_s=after, target=target, deed=Deed.FREEZE, seconds=chance.uniform(*FREEZE_S)))
    in_order = sorted(strikes, key=lambda strike: (strike.after_s, strike.target is Target.SERVICE))
    return Life(patient=patient, strikes=tuple(in_order), checkpoint_s=chance.choice(CHECKPOINTS_S))
