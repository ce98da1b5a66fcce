"""The two price sockets' frames (polymarket.md 4): RTDS as recorded in April 2026, PolyBolt as documented. Pure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from polybot.domain.units import UNIT, Millis
from polybot.exchange.price_desk import PricePoint

ENCODER = msgspec.json.Encoder(decimal_format="number")
E18_PER_UNIT = 10**12
"""A millionth of a dollar in units of 1e-18."""
BINANCE_BASIS = Decimal("0.99967")
"""Binance stands about 3.3 basis points below Chainlink (polymarket.md 5.2, R2)."""

RTDS_BINANCE = "crypto_prices"
RTDS_CHAINLINK = "crypto_prices_chainlink"
RTDS_TWAPS = {"crypto_prices_twap_sixty": 60, "crypto_prices_twap_thirty": 30}
RTDS_TOPICS = (RTDS_BINANCE, RTDS_CHAINLINK, *RTDS_TWAPS)
BOLT_SPOT = "price.crypto"
BOLT_TWAP = "price.crypto.twap"
BOLT_CHANNELS = {BOLT_SPOT: "pyth", BOLT_TWAP: "chainlink"}


def rtds_symbol(topic: str, asset: str) -> str:
    return f"{asset.lower()}usdt" if topic == RTDS_BINANCE else f"{asset.lower()}/usd"


def bolt_symbol(asset: str) -> str:
    return f"{asset.lower()}usd"


def rtds_update(topic: str, asset: str, point: PricePoint, sent: Millis, connection: str) -> bytes:
    units = _rtds_units(topic, point)
    payload: dict[str, Any] = {
        "full_accuracy_value": f"{dollars(units):.8f}" if topic == RTDS_BINANCE else str(units * E18_PER_UNIT),
        "symbol": rtds_symbol(topic, asset),
        "timestamp": point.at,
        "value": dollars(units),
    }
    if topic in RTDS_TWAPS:
        payload["window_s"] = RTDS_TWAPS[topic]
    return ENCODER.encode(
        {"connection_id": connection, "payload": payload, "timestamp": sent, "topic": topic, "type": "update"}
    )


def rtds_snapshot(topic: str, asset: str, points: Iterable[PricePoint], sent: Millis) -> bytes:
    """The last two minutes. Chainlink's come under Binance's topic, too; only the symbol tells (recorded)."""
    data = [{"timestamp": point.at, "value": dollars(_rtds_units(topic, point))} for point in points]
    payload = {"data": data, "symbol": rtds_symbol(topic, asset)}
    return ENCODER.encode({"payload": payload, "timestamp": sent, "topic": RTDS_BINANCE, "type": "subscribe"})


def bolt_update(channel: str, asset: str, point: PricePoint, sequence: int, dropped: int) -> bytes:
    payload = {"symbol": bolt_symbol(asset), **_bolt_price(channel, point), "source": BOLT_CHANNELS[channel]}
    frame = {"v": 1, "channel": channel, "seq": sequence, "ts": point.at, "payload": _with_window(channel, payload)}
    if dropped:
        frame["dropped"] = dropped
    return ENCODER.encode(frame)


def bolt_snapshot(channel: str, asset: str, points: Iterable[PricePoint], sequence: int, sent: Millis) -> bytes:
    data = [_bolt_price(channel, point) for point in points]
    payload = {"symbol": bolt_symbol(asset), "source": BOLT_CHANNELS[channel], "data": data}
    return ENCODER.encode(
        {
            "v": 1,
            "channel": channel,
            "seq": sequence,
            "ts": sent,
            "snapshot": True,
            "payload": _with_window(channel, payload),
        }
    )


def dollars(units: int) -> Decimal:
    return (Decimal(units) / UNIT).normalize() + 0


def _rtds_units(topic: str, point: PricePoint) -> int:
    match topic:
        case "crypto_prices":
            return int(point.spot * BINANCE_BASIS) // 10_000 * 10_000  # to the cent
        case "crypto_prices_chainlink":
            return point.spot
        case "crypto_prices_twap_sixty":
            return point.twap60
        case _:
            return point.twap30


def _bolt_price(channel: str, point: PricePoint) -> dict[str, Any]:
    value = dollars(point.twap60 if channel == BOLT_TWAP else point.spot)
    return {"timestamp": point.at, "value": value, "full_accuracy_value": f"{value:.8f}"}


def _with_window(channel: str, payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"window_seconds": 60} if channel == BOLT_TWAP else payload
