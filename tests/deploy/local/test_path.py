"""The path that `tests/cluster` takes on a cluster, here: one description runs unchanged on both targets.

Left out is what only a cluster has (images, a canary by its pods' figures) and what waits for a whole minute of the clock.
"""

from __future__ import annotations

import pytest
from tests.cluster.conftest import Place
from tests.cluster.test_path import (
    test_a_function_answers_over_http_and_to_events,
    test_a_job_gives_results_and_its_log,
    test_a_job_that_fails_is_tried_again_and_its_deadline_ends_it,
    test_an_edited_handler_answers,
    test_an_event_starts_a_job,
    test_an_events_reply_starts_a_second_function,
    test_it_scales_out_under_load,
    test_it_scales_to_zero_and_back,
    test_traffic_is_split_and_rolled_back,
    test_what_is_no_longer_named_is_pruned_and_deleted,
)
from tests.deploy.local.conftest import Local

from trimtab.deploy.local.target import LocalTarget

__all__ = [
    "test_a_function_answers_over_http_and_to_events",
    "test_a_job_gives_results_and_its_log",
    "test_a_job_that_fails_is_tried_again_and_its_deadline_ends_it",
    "test_an_edited_handler_answers",
    "test_an_event_starts_a_job",
    "test_an_events_reply_starts_a_second_function",
    "test_it_scales_out_under_load",
    "test_it_scales_to_zero_and_back",
    "test_traffic_is_split_and_rolled_back",
    "test_what_is_no_longer_named_is_pruned_and_deleted",
]


@pytest.fixture
def cluster(local: Local) -> Place[LocalTarget]:
    return Place(local.target, {})
