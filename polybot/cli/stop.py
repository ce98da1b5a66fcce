"""`polybot stop` and `polybot resume`: the kill switch from the terminal, with a floor or without."""

import asyncio
from typing import Annotated

import typer

from polybot.cli.asking import answer_to, new_id, who_asks
from polybot.cli.options import DataDir
from polybot.domain.errors import PolybotError
from polybot.live_settings import SecretUnreadable, secret_of, secret_values
from polybot.log import hide
from polybot.runs import is_running, was_live
from polybot.settings import Settings, load_settings
from polybot.switch_file import ANSWER_S_MAX, CANCELLED_S_MAX, SwitchAnswer, SwitchFile, Wish

NOT_DONE = 1


class NotDone(PolybotError):
    """Something that was asked for could not be done; what was is told before."""


def add_to(app: typer.Typer) -> None:
    app.command()(stop)
    app.command()(resume)


def stop(
    *,
    cancel_all: Annotated[bool, typer.Option("--cancel-all", help="Also cancel every open order.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Stop trading, durably: the floor pauses, now or when it is started next, until `polybot resume`."""
    settings = load_settings(data_dir=data_dir)
    hide(secret_values(settings))
    file, wish = SwitchFile(settings.data_dir), _wish(stop=True, cancel_all=cancel_all)
    file.ask_stop(wish)
    typer.echo(f"{file.path} is written: no floor trades on this folder until `polybot resume`.")
    answer = _answer(settings, file, wish, CANCELLED_S_MAX if cancel_all else ANSWER_S_MAX)
    if answer is not None:
        typer.echo(f"The running floor: {answer.text}.")
        if not answer.trouble:
            return
        typer.echo(f"It could not do all of it: {answer.trouble}.", err=True)
    elif not is_running(settings.data_dir):
        typer.echo(f"No floor runs on {settings.data_dir.absolute()}: one elsewhere is stopped with its --data-dir.")
    if cancel_all:
        _cancel_ourselves(settings)
    elif answer is None and is_running(settings.data_dir):
        raise NotDone("the floor on this folder did not answer; unless its tape is over, end its process")


def resume(data_dir: DataDir = None) -> None:
    """Trade again after `polybot stop`, or after a pause over HTTP."""
    settings = load_settings(data_dir=data_dir)
    file, wish = SwitchFile(settings.data_dir), _wish(stop=False)
    file.ask_resume(wish)
    answer = _answer(settings, file, wish, ANSWER_S_MAX)
    if answer is not None:
        typer.echo(f"The running floor: {answer.text}.")
    elif is_running(settings.data_dir):
        raise NotDone("the switch is off, but the floor on this folder did not answer: look at its log")
    else:
        typer.echo("The switch is off; no floor is running: the next one that is started trades.")


def _wish(*, stop: bool, cancel_all: bool = False) -> Wish:
    return Wish(stop=stop, id=new_id(), by=who_asks(), cancel_all=cancel_all)


def _answer(settings: Settings, file: SwitchFile, wish: Wish, seconds: float) -> SwitchAnswer | None:
    """What the running floor has done about it; None where there is none, or it does not answer."""
    if not is_running(settings.data_dir):  # asked once: the asking holds the journal's lock for a moment
        return None
    return answer_to(wish.id, file.answer, seconds)


def _cancel_ourselves(settings: Settings) -> None:
    """With the floor dead or in trouble. Raises NotDone."""
    try:
        has_key = secret_of(settings, "private_key") is not None
    except SecretUnreadable as error:
        raise NotDone(f"orders at the venue were not cancelled: {error}") from None
    if not has_key:
        if settings.mode == "live" or was_live(settings.data_dir):
            raise NotDone(
                "orders may still be open: this floor trades real money, and no private key is set here; set "
                "POLYBOT_PRIVATE_KEY_FILE and POLYBOT_WALLET as the floor has them, and say it again"
            )
        typer.echo("No private key is set, and no account was asked; paper orders are cancelled at the next start.")
        return
    from polybot.live_account import cancel_account  # noqa: PLC0415 - stopping must not wait for a second of imports

    try:
        asyncio.run(cancel_account(settings))
    except PolybotError as error:
        raise NotDone(f"not all orders were cancelled by this command: {error}") from error
    typer.echo("Every open order of the account was cancelled by this command.")
