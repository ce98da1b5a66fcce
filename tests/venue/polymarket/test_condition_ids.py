"""One market has one condition, however many of its bytes are served: the CLOB is asked by the full one."""

import pytest

from polybot.venue.polymarket.wire_units import condition_of

OLD = "0x" + "ab" * 32


@pytest.mark.parametrize(
    ("served", "asked"),
    [
        (OLD, OLD),
        (OLD.upper().replace("0X", "0x"), OLD),
        ("0x01" + "cd" * 30, "0x01" + "cd" * 30 + "00"),
        ("0x02" + "CD" * 30, "0x02" + "cd" * 30 + "00"),
        ("0x01" + "cd" * 31, "0x01" + "cd" * 31),
        ("0x03" + "cd" * 30, "0x03" + "cd" * 30),
    ],
)
def test_thirty_one_bytes_of_the_new_protocol_are_filled_up(served, asked):
    assert condition_of(served) == asked
    assert condition_of(asked) == asked
