"""Ranks of a start meet, whatever an earlier start left in the launcher's store."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from lamdata.errors import SetupError
from lamtrain.training.meeting import agreed_word


def meet(store: dist.Store, world: int, *, late: int = -1) -> list[str]:
    words = [""] * world

    def one(rank: int) -> None:
        time.sleep(0.3 if rank == late else 0.0)
        words[rank] = agreed_word(store, rank, world, timeout=timedelta(seconds=30))

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return words


def test_each_start_agrees_on_a_word_of_its_own_whoever_comes_last() -> None:
    store, seen = dist.HashStore(), set()
    for late in (-1, 0, 3):
        words = meet(store, 4, late=late)
        assert len(set(words)) == 1 and words[0]
        seen.add(words[0])
    seen.add(meet(store, 2)[0])  # two are left
    assert len(seen) == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_nobody_answers_says_for_whom_it_waited(rank: int) -> None:
    store = dist.HashStore()
    meet(store, 2)
    with pytest.raises(SetupError, match=f"rank {rank} waited 0:00:00.300000 for rank {1 - rank}"):
        agreed_word(store, rank, 2, timeout=timedelta(seconds=0.3))
