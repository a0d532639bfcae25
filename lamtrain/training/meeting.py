"""Where the ranks of one start meet: a key-value store in which nothing stands of an earlier start."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lamdata.errors import SetupError

PAUSE = 0.05  # s between two looks


def meeting_place(rank: int, world: int, *, timeout: timedelta) -> Store:
    """The store that the environment names (`torchrun`, or MASTER_ADDR and MASTER_PORT), for this start alone; raises SetupError after `timeout`.

    `torchrun` starts lost ranks again on the store of the first start, where the addresses of ranks that are gone still stand (its
    `DynamicRendezvousHandler` keeps `_bootstrap_store_info`): who reads one of them waits for ever.
    """
    store: Store = next(iter(rendezvous("env://", rank, world, timeout=timeout)))[0]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    return PrefixStore(agreed_word(PrefixStore("lamtrain", store), rank, world, timeout=timeout), store)


def agreed_word(store: Store, rank: int, world: int, *, timeout: timedelta) -> str:
    """A new word that all `world` ranks of this start know, whatever an earlier start left in the store.

    Each rank says a word of its own; the first answers it with the word of the start; who is answered says so.
    """
    own, deadline = uuid.uuid4().hex, time.monotonic() + timeout.total_seconds()
    waiting = set(range(1, world)) if rank == 0 else {0}
    if rank > 0:
        store.set(f"said/{rank}", own)
    while waiting:
        if time.monotonic() > deadline:
            raise SetupError(f"rank {rank} waited {timeout} for rank {min(waiting)}", where="torchrun", hint="start all ranks again")
        if rank == 0:
            for other in sorted(waiting):
                if store.check([f"said/{other}"]):
                    store.set(f"answer/{other}", f"{store.get(f'said/{other}').decode()} {own}")
                if store.check([f"heard/{other}"]) and store.get(f"heard/{other}").decode() == own:
                    waiting.discard(other)
        elif store.check([f"answer/{rank}"]):
            to, word = str(store.get(f"answer/{rank}").decode()).split()
            if to == own:
                store.set(f"heard/{rank}", word)
                return word
        time.sleep(PAUSE)
    return own
