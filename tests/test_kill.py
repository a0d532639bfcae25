"""A few kills in the default suite; `python tests/kill.py SEED` does twenty and ten."""

from __future__ import annotations

import random

import pytest

from tests import kill


def test_a_killed_ingest_ends_with_the_same_store() -> None:
    assert kill.trials("ingest", kill.INGEST, kill.write_catalog, kill.outcome_of_ingest, count=3, rng=random.Random(1)) == 0


def test_a_killed_training_ends_with_the_same_bits() -> None:
    assert kill.trials("training", kill.TRAIN, kill.write_and_ingest, kill.outcome_of_training, count=2, rng=random.Random(2)) == 0


def test_a_training_told_to_stop_ends_with_the_same_bits() -> None:
    options = {"count": 3, "rng": random.Random(5), "signals": kill.STOPS}
    assert kill.trials("training", kill.TRAIN, kill.write_and_ingest, kill.outcome_of_training, **options) == 0


def test_a_killed_fine_tune_is_not_adapted_twice_and_ends_with_the_same_bits() -> None:
    assert kill.trials("fine-tune", kill.FINE_TUNE, kill.write_fine_tune, kill.outcome_of_training, count=2, rng=random.Random(6)) == 0


def test_a_killed_process_ends_with_the_same_hashes() -> None:
    options = {"count": 3, "rng": random.Random(8)}
    assert kill.trials("process", kill.RUN, kill.write_process_of_data, kill.outcome_of_process, **options) == 0


@pytest.mark.slow
def test_a_process_killed_at_thirty_instants_of_all_its_stages_ends_with_the_same_hashes() -> None:  # minutes: each trial starts it twice
    assert kill.trials("process", kill.RUN, kill.write_process, kill.outcome_of_process, count=30, rng=random.Random(9)) == 0


@pytest.mark.slow
def test_a_process_told_to_stop_ends_with_the_same_hashes() -> None:  # as above
    options = {"count": 6, "rng": random.Random(10), "signals": kill.STOPS}
    assert kill.trials("process", kill.RUN, kill.write_process, kill.outcome_of_process, **options) == 0


@pytest.mark.slow
def test_a_fine_tune_killed_at_twenty_instants_ends_with_the_same_bits() -> None:  # minutes: each trial starts the command twice
    assert kill.trials("fine-tune", kill.FINE_TUNE, kill.write_fine_tune, kill.outcome_of_training, count=20, rng=random.Random(7)) == 0


@pytest.mark.slow
def test_twenty_killed_ingests_and_ten_killed_trainings() -> None:  # minutes: each trial starts the command twice
    assert kill.trials("ingest", kill.INGEST, kill.write_catalog, kill.outcome_of_ingest, count=20, rng=random.Random(3)) == 0
    assert kill.trials("training", kill.TRAIN, kill.write_and_ingest, kill.outcome_of_training, count=10, rng=random.Random(4)) == 0
