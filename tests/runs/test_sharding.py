"""A run is divided evenly, the same way each time, and each part has a folder of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.plan import choose_samples
from alphabench.runs.sharding import (
    RunShard,
    named_shard,
    read_shard,
    shard_folder,
    shard_folders,
    whole_run_folder,
)
from alphabench.types import Sample

THIRD = RunShard(number=3, of=8)


def samples_of(sizes: list[int]) -> list[Sample]:
    """Groups of so many samples each, one group after the other."""
    return [
        Sample(id=f"{group}-{number}", prompt="p", group=f"g{group}")
        for group, size in enumerate(sizes)
        for number in range(size)
    ]


def divided(samples: list[Sample], limit: int | None, of: int) -> list[list[Sample]]:
    return [
        choose_samples(samples, limit, seed=0, shard=RunShard(number=number, of=of))
        for number in range(1, of + 1)
    ]


@given(
    sizes=st.lists(st.integers(0, 15), min_size=1, max_size=6),
    of=st.integers(1, 12),
    limit=st.one_of(st.none(), st.integers(1, 60)),
)
@settings(max_examples=40, deadline=None)
def test_shards_are_disjoint_and_complete_and_differ_by_one_sample_at_most(
    sizes: list[int], of: int, limit: int | None
) -> None:
    samples = samples_of(sizes)
    shards = divided(samples, limit, of)
    together = sorted(sample.id for shard in shards for sample in shard)
    assert together == sorted(sample.id for sample in choose_samples(samples, limit, seed=0))
    counts = [len(shard) for shard in shards]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("of", [2, 3, 4, 5, 6, 8, 12])
def test_each_shard_has_its_share_of_each_group(of: int) -> None:
    samples = samples_of([80, 99, 80, 94, 100, 100])  # GenEval's tasks
    for shard in divided(samples, None, of):
        for group, size in Counter(sample.group for sample in samples).items():
            mine = sum(sample.group == group for sample in shard)
            assert abs(mine - size / of) < 3, (group, mine, size / of)


@given(limits=st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted))
@settings(max_examples=40, deadline=None)
def test_a_larger_limit_moves_no_sample_to_another_shard(limits: list[int]) -> None:
    samples = samples_of([9, 5, 16])
    for few, many in zip(*(divided(samples, limit, 4) for limit in limits), strict=True):
        assert {sample.id for sample in few} <= {sample.id for sample in many}


def test_shards_beyond_the_samples_are_empty_however_many_there_are() -> None:
    samples, of = samples_of([2, 1]), 999_999_999
    for number, size in ((1, 1), (3, 1), (4, 0), (of, 0)):
        shard = RunShard(number=number, of=of)
        assert len(choose_samples(samples, None, seed=0, shard=shard)) == size


def test_a_shard_is_written_as_a_fraction() -> None:
    assert read_shard("3/8") == THIRD
    assert str(THIRD) == "shard 3 of 8"


@pytest.mark.parametrize("text", ["", "3", "x/y", "3/", "3/8/2", "-1/2", "1.5/2", "٣/٨", "3 8"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AlphaBenchError, match="--shard cannot be") as refused:
        read_shard(text)
    assert "--shard 3/8" in refused.value.hint


@pytest.mark.parametrize(("text", "hint"), [("9/8", "8/8"), ("0/8", "--array=1-8"), ("0/0", "1/1")])
def test_a_number_that_is_not_among_the_shards_is_refused(text: str, hint: str) -> None:
    with pytest.raises(AlphaBenchError, match="there is no shard") as refused:
        read_shard(text)
    assert hint in refused.value.hint


def test_the_folder_of_a_shard_stands_beside_the_run(tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "a", THIRD)
    assert folder == tmp_path / "a.shard-3-of-8"
    assert shard_folder(folder, THIRD) == folder
    assert named_shard(folder) == THIRD
    assert whole_run_folder(folder) == tmp_path / "a"
    assert whole_run_folder(tmp_path / "a") == tmp_path / "a"


def test_a_dot_stands_for_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shard_folder(Path(), THIRD) == tmp_path.resolve() / "here.shard-3-of-8"
    with pytest.raises(AlphaBenchError, match="no folders beside it"):
        shard_folder(Path("/"), THIRD)


def test_the_folder_of_another_shard_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="is the folder of shard 2 of 8") as refused:
        shard_folder(Path("runs/a.shard-2-of-8"), THIRD)
    assert "--out runs/a" in refused.value.hint


@pytest.mark.parametrize("name", ["a", ".shard-1-of-2", "a.shard-0-of-2", "a.shard-3-of-2", "a.sh"])
def test_other_names_are_no_shards(name: str) -> None:
    assert named_shard(Path(name)) is None


def test_the_shards_beside_a_run_are_found_in_order(tmp_path: Path) -> None:
    for name in ("a.shard-10-of-12", "a.shard-2-of-12", "b.shard-1-of-2", "a", "a.shard-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.shard-3-of-12").touch()
    found = [folder.name for folder in shard_folders(tmp_path / "a")]
    assert found == ["a.shard-2-of-12", "a.shard-10-of-12"]
    assert shard_folders(tmp_path / "none" / "a") == []
