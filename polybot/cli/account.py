"""`polybot account`: the wallet and the books of a floor that trades real money, and the booking of what parts them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from polybot.account_file import AccountFile
from polybot.account_talk import AccountAnswer, AccountAsk, AccountView, ItemSeen, signed
from polybot.cli.asking import answer_to, new_id, who_asks
from polybot.cli.options import DataDir
from polybot.domain.errors import BadInput, PolybotError
from polybot.domain.units import Millis, format_units, parse_units
from polybot.runs import is_running
from polybot.settings import Settings, load_settings

SHOWN_S_MAX = 30.0
"""The floor may look up orders that it has in doubt first."""
BOOKED_S_MAX = 120.0
"""The account is read before and after (live_clerk.py)."""


class NotAccepted(PolybotError):
    """Nothing was booked; the text says why and what to do."""


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="The live account: wallet, books, and what parts them.", no_args_is_help=False)
    group.callback(invoke_without_command=True)(account)
    group.command()(accept)
    app.add_typer(group, name="account")


def account(context: typer.Context, *, data_dir: DataDir = None) -> None:
    """Show the wallet, the floor's books, and every difference between them with its amount and since when."""
    verb = context.invoked_subcommand
    if verb is not None and data_dir is not None:
        raise BadInput(f"say it behind the verb: polybot account {verb} --data-dir {data_dir}")
    if verb is None:
        _show(_asked(load_settings(data_dir=data_dir), None, "").view)


def accept(
    amounts: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=AMOUNT]...", help="As shown; none: every difference.")
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why they differ; it stays in the record.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: needs the amounts and a reason.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Book differences, after showing them and asking: what came or went by hand is not the floor's."""
    settings, chosen = load_settings(data_dir=data_dir), parsed(amounts or [])
    if yes and not (chosen and reason):
        raise BadInput("--yes books what is typed: give every NAME=AMOUNT, as `polybot account` shows it, and --reason")
    if not yes:
        view = _asked(settings, None, "").view
        _show(view)
        chosen = chosen or proposed(view)
        reason = reason or typer.prompt("\nWhy they differ, for the record")
        told = ", ".join(f"{name}={signed(amount)}" for name, amount in chosen.items())
        typer.confirm(f"Book {told}?", abort=True)
    answer = _asked(settings, chosen, reason)
    if answer.refused:
        _show(answer.view)
        raise NotAccepted(f"nothing was booked: {answer.refused}")
    typer.echo(f"{answer.done}: {', '.join(f'{name}={signed(amount)}' for name, amount in chosen.items())}\n")
    _show(answer.view)


def parsed(amounts: list[str]) -> dict[str, int]:
    """`cash=+250.5` and so on, in millionths. Raises BadInput."""
    chosen: dict[str, int] = {}
    for text in amounts:
        name, separator, amount = text.rpartition("=")
        if not separator or not name or name in chosen:
            raise BadInput(f"{text!r}: NAME=AMOUNT is expected, each name once, such as cash=+250.00")
        chosen[name] = parse_units(amount.removeprefix("+"))
    return chosen


def proposed(view: AccountView) -> dict[str, int]:
    """Everything that can be booked now, exactly. Raises NotAccepted where that is nothing, or not exact."""
    items = [item for item in view.items if item.is_first] or list(view.items)
    if not items:
        raise NotAccepted("there is nothing to book")
    vague = [item for item in items if not item.is_exact]
    if vague:
        raise NotAccepted(
            f"{vague[0].name} is {vague[0].span}, for something is on its way: wait until it is exact, or type the "
            f"amount that you know: polybot account accept {vague[0].name}=AMOUNT"
        )
    return {item.name: item.least for item in items}


# -- the floor that is asked -------------------------------------------------------------------------------------------


def _asked(settings: Settings, amounts: dict[str, int] | None, reason: str) -> AccountAnswer:
    """Raises NotAccepted where no floor answers."""
    if not is_running(settings.data_dir):
        raise NotAccepted(
            f"no floor runs on {settings.data_dir}. Start one (`polybot run`, `docker compose up -d`): it reads the "
            "account, trades nothing while that differs from its books, and answers this. With two instances, ask the "
            "one that leads"
        )
    ask = AccountAsk(id=new_id(), by=who_asks(), amounts=amounts, reason=reason)
    file = AccountFile(settings.data_dir)
    file.ask(ask)
    try:
        answer = answer_to(ask.id, file.answered, SHOWN_S_MAX if amounts is None else BOOKED_S_MAX)
    finally:
        file.forget()
    if answer is not None:
        return answer
    done = "" if amounts is None else " Look again before you repeat this: it may have been booked."
    raise NotAccepted(
        f"the floor on {settings.data_dir} did not answer. One that trades paper money has no account; a live one that "
        f"is silent has told its log why.{done}"
    )


# -- what is shown -----------------------------------------------------------------------------------------------------


def _show(view: AccountView) -> None:
    read = "not read yet" if view.read_at is None else f"read {_clock(view.read_at)}"
    floors = None if view.wallet is None or view.elsewhere is None else view.wallet - view.elsewhere
    is_exact = view.least == view.most
    rows = (
        ("wallet", _amount(view.wallet), f"pUSD on chain, {read}"),
        ("elsewhere", _amount(view.elsewhere), "of it is not the floor's"),
        ("the floor's", _amount(floors), "of it is"),
        ("by the books", _amount(view.least) if is_exact else "from " + _amount(view.least), "of it should be"),
        *(() if is_exact else (("", "to " + _amount(view.most), "while trades or wins are on their way"),)),
        ("ledger", _amount(view.cash), "pUSD the desks have"),
        ("unpaid", _amount(view.unpaid), "of it is won, and not redeemed yet (below 0: paid ahead)"),
        ("dust", _amount(view.dust), "left lying: less than a cent, not worth a transaction"),
    )
    for name, amount, meaning in rows:
        typer.echo(f"{name:<12}{amount:>22}  {meaning}")
    for won in view.unpaid_of:
        typer.echo(f"{'':<12}{_amount(won.amount):>22}  unpaid of {won.market}, {_clock(won.at)}")
    for name, shares in view.beside.items():
        typer.echo(f"{'beside':<12}{_amount(shares):>22}  shares of {name} that are not the floor's")
    for item in view.items:
        typer.echo(f"\n{_item(item)}")
    for text in view.others:
        typer.echo(f"\nnot to be booked: {text}")
    typer.echo(f"\n{_verdict(view, is_exact=is_exact)}")


def _verdict(view: AccountView, *, is_exact: bool) -> str:
    if view.items:
        return "Nothing is bought while they differ. To book what was moved by hand: polybot account accept"
    if view.others:
        return "Nothing is bought until this is over."
    if is_exact:
        return "The account and the books are the same."
    return "The account is as the books allow. A smaller difference shows once nothing is on its way."


def _amount(amount: int | None) -> str:
    return "?" if amount is None else format_units(amount)


def _item(item: ItemSeen) -> str:
    since = f", since {_clock(item.since)}" if item.since is not None else ""
    return f"{item.name}={item.span}{since}\n  {item.text}"


def _clock(at: Millis) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
