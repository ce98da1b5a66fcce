"""`polybot replay` put together: a run's journal, what it ran on, and the settings and agents it wrote down."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from polybot.backtest.rerun import Comparison, Difference, Rerun, listing_of, lockstep_looks
from polybot.desk.desk import AgentPlan
from polybot.domain.errors import BadInput
from polybot.domain.events import Journaled, RunStarted
from polybot.domain.ids import MarketId
from polybot.live_settings import RampSettings
from polybot.risk.limits import Limits
from polybot.settings import AgentFile, LimitSettings, Settings, load_plans, make_plans
from polybot.storage.tape import TapeReader
from polybot.storage.tape_recording import Segment, segments, sessions_of

ON_TAPE = "tape "
"""How the source of a run on a tape begins (app.source_name)."""
NOT_WRITTEN_DOWN = "the run did not write its agents down: those configured now were used"


def was_on_tape(facts: Sequence[Journaled]) -> bool:
    return _started(facts).source.startswith(ON_TAPE)


def rerun_tape(settings: Settings, market: MarketId, facts: Sequence[Journaled], tape: Path) -> Comparison:
    """One window of a run on a tape. Raises BadInput where the tape is another one, TapeError where it is damaged."""
    started = _started(facts)
    reader = TapeReader(tape, allow_unfinished=True)
    if started.source != f"{ON_TAPE}{reader.header.name}":
        raise BadInput(f"the run was on {started.source}, and {tape} is {reader.header.name}: name it with --tape")
    plans, notes = _plans(started, settings)
    limits = _limits(started, settings)
    rerun = Rerun(market, plans, limits, facts, since=1)
    # Read twice: a book takes the lists of its snapshot over, so two rooms cannot share one event.
    looks = lockstep_looks(enumerate(reader.events(), 1), plans, limits, facts)
    difference = rerun.run(listing_of(market, enumerate(reader.events(), 1)), looks)
    return _comparison(market, rerun, difference, notes)


def rerun_recording(settings: Settings, market: MarketId, facts: Sequence[Journaled], folder: Path) -> Comparison:
    """One window of a live run, life by life of its process. Raises BadInput where its recording is not whole."""
    lives = sessions_of(market, _started(facts).run, segments(folder))
    if not lives:
        raise BadInput(
            f"{folder} has nothing of {market} in this run; it may have been removed to keep within the bound"
        )
    made: list[Comparison] = []
    for life in lives:
        made.append(_rerun_life(settings, market, facts, life))
        if made[-1].difference is not None:
            break
    return _together(made)


def _rerun_life(settings: Settings, market: MarketId, facts: Sequence[Journaled], life: list[Segment]) -> Comparison:
    _require_whole(market, life)
    looks = (look for segment in life for look in segment.looks())  # one at a time: an hour may have millions
    first = next(looks, None)
    since, end = _life_in(facts, len(facts) if first is None else first.facts)
    started = facts[since - 1].fact
    assert isinstance(started, RunStarted)
    plans, notes = _plans(started, settings)
    rerun = Rerun(market, plans, _limits(started, settings), facts[:end], since)
    events = listing_of(market, (pair for segment in life for pair in segment.events()))
    difference = rerun.run(events, looks if first is None else chain((first,), looks))
    return _comparison(market, rerun, difference, notes)


def _comparison(market: MarketId, rerun: Rerun, difference: Difference | None, notes: Sequence[str]) -> Comparison:
    return Comparison(
        market=market,
        events=rerun.events,
        rows=list(rerun.rows.values()),
        difference=difference,
        notes=[*notes, *rerun.notes],
    )


def _require_whole(market: MarketId, life: list[Segment]) -> None:
    """From the market's first listing on, without a gap."""
    if market in life[0].listed_before:
        raise BadInput(f"the recording of how {market} began was removed to keep within the bound")
    expected = life[0].header.first_position
    for segment in life:
        if segment.header.first_position != expected:
            lost = segment.header.first_position - expected
            raise BadInput(
                f"{lost} market events are missing before {segment.path.name}: {'; '.join(segment.header.notes)}"
            )
        expected += segment.count()


def _life_in(facts: Sequence[Journaled], seen: int) -> tuple[int, int]:
    """The life of the process that had seen fact number `seen`: its RunStarted's number, and that of its last fact."""
    starts = [entry.seq for entry in facts if isinstance(entry.fact, RunStarted)]
    since = max((seq for seq in starts if seq <= max(seen, 1)), default=1)
    return since, next((seq - 1 for seq in starts if seq > since), len(facts))


def _together(made: list[Comparison]) -> Comparison:
    rows = made[0].rows
    for other in made[1:]:
        for row, more in zip(rows, other.rows, strict=True):
            row.looks += more.looks
            row.orders += more.orders
            row.refusals += more.refusals
            row.records += more.records
    return msgspec.structs.replace(
        made[-1], rows=rows, events=sum(one.events for one in made), notes=[note for one in made for note in one.notes]
    )


def _started(facts: Sequence[Journaled]) -> RunStarted:
    started = next((entry.fact for entry in facts if isinstance(entry.fact, RunStarted)), None)
    if started is None:
        raise BadInput("the journal is empty: the floor has not been open yet")
    return started


def _plans(started: RunStarted, settings: Settings) -> tuple[list[AgentPlan], list[str]]:
    """The agents as the run wrote them down; where it did not, those configured now."""
    kept: Any = started.settings.get("agents")
    if kept is None:
        return load_plans(settings), [NOT_WRITTEN_DOWN]
    return make_plans(msgspec.convert(kept, dict[str, AgentFile]), settings), []


def _limits(started: RunStarted, settings: Settings) -> Limits:
    """As the run wrote them down; one with real money had the ramp as well."""
    kept: Any = started.settings.get("limits")
    limits = (settings.limits if kept is None else LimitSettings(**kept)).limits()
    ramp: Any = started.settings.get("ramp")
    if started.mode != "live" or ramp is None:
        return limits
    return msgspec.structs.replace(limits, ramp=RampSettings(**ramp).plan())
