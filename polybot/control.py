"""The kill switch fitted to a floor, by file and over HTTP. Part of app.py."""

from pathlib import Path

from polybot.floor.kill_switch import KillSwitch
from polybot.house import House
from polybot.live_settings import secret_of
from polybot.settings import Settings
from polybot.switch_file import SwitchFile
from polybot.web.control import Control


def fit_kill_switch(house: House, data_dir: Path) -> None:
    """Before the floor opens, so that it never trades while the switch's file stands. Raises SwitchUnreadable."""
    switch = KillSwitch(SwitchFile(data_dir), house.dispatcher, house.clock, lambda: house.was.memory.finished)
    otherwise = house.room.fence
    house.room.fence = lambda: switch.may_trade() and otherwise()
    house.kill_switch = switch
    house.beside(switch.watch)


def control_of(settings: Settings, house: House) -> Control:
    """The routes that stop it; without a token in the settings they refuse."""
    assert house.kill_switch is not None, "it is fitted first"
    return Control(house.kill_switch, secret_of(settings, "control_token"))
