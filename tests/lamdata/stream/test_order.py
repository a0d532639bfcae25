"""Order is a pure function with the frequencies that were asked for."""

import numpy as np
import pytest
from scipy.stats import chisquare

from lamdata.errors import ConfigError
from lamdata.stream.order import CYCLE, HeadOrder, MixtureOrder, balanced_order, permutation

WEIGHTS = (1.0, 2.0, 0.5, 0.013, 3.3)


def test_permutation_holds_everything_once_and_depends_on_its_key():
    a, b = permutation(1000, "x", 1), permutation(1000, "x", 2)
    assert sorted(a) == list(range(1000)) and (a != b).any() and (a == permutation(1000, "x", 1)).all()
    assert permutation(1, "x").tolist() == [0]


def test_permutations_are_uniform():
    orders = [tuple(permutation(3, "uniform", k)) for k in range(6000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6 and chisquare(counts).pvalue > 1e-4


def test_prefix_counts_agree_with_counting():
    mixture = MixtureOrder(WEIGHTS, seed=4)
    heads = mixture.heads(0, 10 * CYCLE)
    for slots in (0, 1, 1023, 1024, 5000, 10 * CYCLE):
        assert (mixture.counts(slots) == np.bincount(heads[:slots], minlength=5)).all()
    assert (mixture.heads(777, 4321) == heads[777:4321]).all()


def test_frequencies_match_the_weights():
    mixture = MixtureOrder(WEIGHTS, seed=4)
    slots = 5000 * CYCLE + 17
    expected = mixture.shares * slots
    assert chisquare(mixture.counts(slots), expected).pvalue > 0.01
    per_cycle = np.diff([mixture.counts(c * CYCLE) for c in range(50)], axis=0)
    assert (abs(per_cycle - mixture.shares * CYCLE) <= 1).all()


def test_slots_inside_a_cycle_are_as_mixed_as_draws():
    heads = MixtureOrder((1.0, 1.0), seed=2).heads(0, 64 * CYCLE)
    together = (heads[1:] == heads[:-1]).mean()
    assert abs(together - 0.5) < 0.01


def test_every_epoch_of_a_head_holds_every_block_once():
    order = HeadOrder(np.full(103, 10), seed=1, head="h", buffer_blocks=8)
    for epoch in range(5):
        buffers = order.epoch(epoch).buffers
        assert sorted(block for buffer in buffers for block in buffer) == list(range(103))
        assert max(map(len, buffers)) <= 8
    assert order.epoch(0).buffers != order.epoch(1).buffers


def test_locate_inverts_the_order():
    order = HeadOrder(np.array([5, 7, 1, 9, 3, 4, 4, 8, 2, 6, 6]), seed=1, head="h", buffer_blocks=4)
    epoch = order.epoch(1)
    for position in range(order.frames, 2 * order.frames):
        e, buffer, place = order.locate(position)
        assert e == 1 and position - order.frames == epoch.starts[buffer] + place < epoch.starts[buffer + 1]


@pytest.mark.parametrize("weights", [(), (1.0, 0.0), (1.0, -2.0), (1.0, float("nan"))])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ConfigError, match="positive"):
        MixtureOrder(weights, seed=0)


def test_blocks_are_about_equally_full_wherever_a_split_begins():
    rng = np.random.default_rng(0)
    natoms, split = rng.integers(2, 200, 20_000).astype(np.int32), (rng.random(20_000) < 0.07).astype(np.uint8)
    order = balanced_order(natoms, split, "name", block_frames=256)
    assert sorted(order) == list(range(20_000)) and (np.diff(split[order].astype(int)) >= 0).all()
    atoms = np.add.reduceat(natoms[order], np.arange(0, 20_000, 256))
    assert abs(atoms[:-1] / natoms.mean() / 256 - 1).max() < 0.02
    assert (order == balanced_order(natoms, split, "name", block_frames=256)).all()
    assert (order != balanced_order(natoms, split, "other", block_frames=256)).any()
