"""What a run will do is settled by its arguments alone."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.plan import (
    CheckpointFactory,
    choose_samples,
    plan_run,
    requests_for,
    seed_of,
    usual_evaluator,
)
from alphabench.runs.store import Manifest, RunFolder
from alphabench.types import Card, Sample
from tests.support.fakes import Dots, Reds


def samples_of(sizes: list[int]) -> list[Sample]:
    return [
        Sample(id=f"{group}-{number}", prompt="p", group=f"g{group}")
        for group, size in enumerate(sizes)
        for number in range(size)
    ]


@given(st.integers(0, 2**40), st.text(max_size=9), st.integers(0, 9))
def test_a_seed_fits_31_bits_and_follows_from_its_place_alone(
    run_seed: int, sample: str, index: int
) -> None:
    assert 0 <= seed_of(run_seed, sample, index) < 2**31
    assert seed_of(run_seed, sample, index) == seed_of(run_seed, sample, index)


def test_no_two_of_a_benchmarks_images_share_a_seed() -> None:
    requests = requests_for(samples_of([553]), 4, seed=0)
    assert len({request.seed for request in requests}) == 553 * 4


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    limit=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_a_limit_takes_from_each_group_in_proportion(
    sizes: list[int], limit: int, seed: int
) -> None:
    samples = samples_of(sizes)
    chosen = choose_samples(samples, limit, seed=seed)
    assert len(chosen) == min(limit, len(samples))
    assert [s for s in samples if s in chosen] == chosen
    for group, size in enumerate(sizes):
        share = len(chosen) * size / len(samples)
        assert abs(sum(s.group == f"g{group}" for s in chosen) - share) <= 1 + len(sizes) / 2


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    narrow=st.integers(1, 40),
    more=st.integers(0, 20),
)
def test_a_wider_limit_keeps_what_a_narrower_one_chose(
    sizes: list[int], narrow: int, more: int
) -> None:
    samples = samples_of(sizes)
    few = choose_samples(samples, narrow, seed=3)
    many = choose_samples(samples, narrow + more, seed=3)
    assert {s.id for s in few} <= {s.id for s in many}


def test_the_order_in_which_samples_are_given_does_not_change_the_choice() -> None:
    samples = samples_of([9, 5, 7])
    chosen = {s.id for s in choose_samples(samples, 8, seed=1)}
    assert {s.id for s in choose_samples(samples[::-1], 8, seed=1)} == chosen


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="--limit cannot be 0"):
        choose_samples(samples_of([3]), 0, seed=0)


def fresh_dots(*, device: str) -> Generator:
    return Dots()


@pytest.mark.parametrize(
    ("recorded", "used"),
    [
        ("bright", "bright"),
        ("bright?python=./evil.sh&allow_pickle=true", "brightness"),
        ("unknown", "brightness"),
        ({"name": "bright"}, "brightness"),
    ],
)
def test_a_run_folder_names_an_evaluator_and_sets_no_option_of_it(
    tmp_path: Path, recorded: object, used: str
) -> None:
    pixels = {
        "benchmark.data_digest": "0",
        "benchmark.images_per_sample": "1",
        "seed": "0",
    }
    manifest = Manifest(
        benchmark="reds@1",
        checkpoint="dots",
        pixels=pixels,
        limit=None,
        circumstances={"evaluator": recorded},
    )
    folder = RunFolder.create(tmp_path / "run", manifest)
    folder.write_evaluation("mmdet-strict-1", {"a": "b"})

    class TwoWays(Reds):
        @property
        def card(self) -> Card:
            return replace(super().card, evaluators=("brightness", "bright"))

    assert usual_evaluator(folder, TwoWays()) == used


def test_samples_that_differ_in_capitals_alone_are_refused() -> None:
    class Twins(Reds):
        def samples(self) -> list[Sample]:
            return [Sample(id=name, prompt="p", group="g") for name in ("a", "b", "A")]

    def dots(*, device: str) -> Generator:
        return Dots()

    with pytest.raises(AlphaBenchError, match="'a' and 'A' differ in capitals alone"):
        plan_run(Twins(), CheckpointFactory(name="dots", open=dots))


def test_a_label_names_folder_and_run_and_decides_no_image(tmp_path: Path) -> None:
    checkpoint = CheckpointFactory(name="dots", open=fresh_dots)
    plain = plan_run(Reds(), checkpoint)
    labelled = plan_run(Reds(), checkpoint, label="SD3.5, step 800")
    assert labelled.root == Path("runs/reds/SD3.5-step-800")
    assert labelled.manifest.fingerprint == plain.manifest.fingerprint
    assert labelled.manifest.pixels == plain.manifest.pixels
    assert (plain.manifest.title, labelled.manifest.title) == ("dots", "SD3.5, step 800")
    assert (plain.manifest.label, labelled.manifest.label) == ("", "SD3.5, step 800")
    assert plan_run(Reds(), checkpoint, label="x", out=tmp_path).root == tmp_path


@pytest.mark.parametrize("label", ["", "///", "..", "a\nb", "x" * 65])
def test_a_label_that_names_no_folder_is_refused(label: str) -> None:
    with pytest.raises(AlphaBenchError, match="--name cannot be"):
        plan_run(Reds(), CheckpointFactory(name="dots", open=fresh_dots), label=label)


def test_a_foreign_manifest_whose_label_is_no_text_has_none(tmp_path: Path) -> None:
    manifest = plan_run(Reds(), CheckpointFactory(name="dots", open=fresh_dots)).manifest
    foreign = dataclasses.replace(manifest, circumstances={"label": ["x"]})
    assert (foreign.label, foreign.title) == ("", "dots")
