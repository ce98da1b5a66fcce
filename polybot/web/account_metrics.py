"""What Prometheus reads of a live floor's account at the venue (real money)."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from polybot.domain.units import UNIT
from polybot.floor.status import AccountStatus


def account_metrics(account: AccountStatus) -> Iterator[Metric]:
    if account.wallet is not None:
        yield _gauge("wallet_dollars", "The wallet's pUSD at its last reading.", account.wallet / UNIT)
    if account.elsewhere is not None:
        yield _gauge("wallet_elsewhere_dollars", "What of it is not the floor's.", account.elsewhere / UNIT)
    yield _gauge("wallet_unpaid_dollars", "Wins to be redeemed; below 0: merged ahead.", account.unpaid / UNIT)
    if account.reading_age_s is not None:
        yield _gauge("account_reading_age_seconds", "Since the account was read.", account.reading_age_s)
    yield _gauge("account_troubles", "Reasons for which nothing is bought now.", len(account.troubles))
    yield _gauge("user_channel_open", "1 while news of our orders and trades would be heard.", account.channel_open)
    yield _gauge("order_heartbeat_armed", "1 while the venue would cancel for us.", account.heartbeat_armed)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"polybot_{name}", text, float(value))
