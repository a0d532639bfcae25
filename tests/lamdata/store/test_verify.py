"""Every change of a byte is noticed and named."""

import numpy as np
import pytest

from lamdata.errors import StoreError
from lamdata.store import open_dataset
from lamdata.store.codec import encode_block, index_bytes, pack_shard, unpack_index
from lamdata.store.verify import verify
from tests.lamdata.stores import make_frames, write_store

FLIPS = 1000  # in each of two profiles


def test_a_whole_store_has_no_damage(tmp_path):
    write_store(tmp_path, make_frames(100))
    assert list(verify(str(tmp_path))) == []


@pytest.mark.parametrize("profile", ["lossless", "fast"])
def test_every_flipped_byte_of_a_shard_is_noticed_on_reading(tmp_path, profile):
    frames = make_frames(40)
    write_store(tmp_path, frames, profile=profile)
    shard = tmp_path / "demo/segment-0/positions/c/0/0"
    whole = shard.read_bytes()
    places = np.random.default_rng(0).permutation(len(whole))[:FLIPS]
    for at in places.tolist():
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        shard.write_bytes(damaged)
        with pytest.raises(StoreError, match="damaged|checksum|crc32c|ends after"):
            open_dataset(tmp_path).load([0, 1, 2])
    shard.write_bytes(whole)
    assert len(open_dataset(tmp_path).frames()) == 40


@pytest.mark.parametrize("natoms", [-3, None, 2**31 - 1])
def test_numbers_of_atoms_that_do_not_fit_their_block_are_refused(tmp_path, natoms):
    frames = make_frames(40)
    write_store(tmp_path, frames, profile="fast")
    shard = tmp_path / "demo/segment-0/natoms/c/0"
    plan, data = open_dataset(tmp_path).segments[0].plan, bytearray(shard.read_bytes())
    index = unpack_index(data[: index_bytes(plan.shard_blocks)], plan.shard_blocks)
    chunks = [bytes(data[at : at + length]) for at, length in index[:3].tolist()]
    counts = np.frombuffer(chunks[1][:-4], "<i4").copy()
    counts[:] = plan.atom_width // 16 + 1 if natoms is None else natoms
    shard.write_bytes(pack_shard([chunks[0], encode_block(counts, plan.array("natoms")), chunks[2]], plan.shard_blocks))
    assert len(open_dataset(tmp_path).load([0])) == 16
    with pytest.raises(StoreError, match="`natoms` does not fit the blocks of atoms"):
        open_dataset(tmp_path).load([1, 0])


def test_damage_is_named_with_its_frames(tmp_path):
    write_store(tmp_path, make_frames(100))
    shard = tmp_path / "demo/segment-0/forces/c/0/0"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 255  # the checksum of the last block of shard 0: four blocks of 16 frames
    shard.write_bytes(data)
    (tmp_path / "demo/segment-0/energy/c/1").unlink()
    found = {damage.object: damage for damage in verify(str(tmp_path))}
    assert found["forces/c/0/0"].frames == range(48, 64) and "block 3 (frames 48..63)" in str(found["forces/c/0/0"])
    assert found["energy/c/1"].frames == range(64, 100) and found["energy/c/1"].problem == "is missing"
    with pytest.raises(StoreError, match=r"block 3 of `forces` \(frames 48..63\) is damaged.*validate"):
        open_dataset(tmp_path).frames(0, 64)


def test_a_changed_attribute_is_noticed(tmp_path):
    write_store(tmp_path, make_frames(20))
    document = tmp_path / "demo/segment-0/energy/zarr.json"
    document.write_text(document.read_text().replace("eV", "Ry"))
    assert [damage.object for damage in verify(str(tmp_path))] == ["energy/zarr.json"]
