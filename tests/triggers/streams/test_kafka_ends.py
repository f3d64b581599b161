"""What asks Kafka for the end of a partition, against librdkafka's brokers: Tansu, the broker of the other tests, does not know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.triggers.streams.servers import MockKafka
from tests.triggers.streams.test_contract import (
    test_a_group_can_go_back_to_the_beginning_a_time_or_an_offset,
    test_a_new_group_begins_where_it_is_told,
    test_lag_counts_what_waits_and_what_is_lent,
)

pytestmark = pytest.mark.anyio
__all__ = [
    "test_a_group_can_go_back_to_the_beginning_a_time_or_an_offset",
    "test_a_new_group_begins_where_it_is_told",
    "test_lag_counts_what_waits_and_what_is_lent",
]


@pytest.fixture(params=[MockKafka], ids=["librdkafka"])
def server(tmp_path: Path) -> Iterator[MockKafka]:
    if missing := MockKafka.missing():
        pytest.skip(f"{missing} is not installed")
    server = MockKafka(tmp_path)
    server.start()
    yield server
    server.stop()
