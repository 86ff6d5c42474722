"""DPG against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from alphabench.benchmarks.dpg.official_files import (
    read_details,
    read_results,
    read_table,
    split_grid,
)
from alphabench.benchmarks.dpg.official_results import dpg_results_text, summarise_dpg_results
from alphabench.benchmarks.dpg.scoring import JudgedItem, category_estimates, dpg_headline
from alphabench.core.errors import AlphaBenchError


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "dpg"


def printed(path: Path) -> str:
    """Upstream's summary, less the lines that name its files."""
    _, _, summary = path.read_text().rstrip("\n").partition("Model: images\n")
    lines = summary.split("\n")
    return "\n".join(line for line in lines if not line.startswith(("Image path", "Save results")))


def items(golden: Path, n_images: int) -> list[JudgedItem]:
    """From the table of answers that stood in for upstream's model."""
    table = read_table((golden / "dpg_bench.csv").read_bytes())
    answers = json.loads((golden / "answers.json").read_text())
    return [
        JudgedItem(
            id=item,
            propositions=table[item],
            images=tuple({q: float(a == "yes") for q, a in of.items()} for of in images[:n_images]),
        )
        for item, images in answers.items()
    ]


@pytest.mark.parametrize("n_images", [1, 4])
def test_the_summary_of_a_published_result_is_upstreams_to_the_letter(
    golden: Path, n_images: int
) -> None:
    path = golden / f"out_pic{n_images}.txt"
    assert dpg_results_text(summarise_dpg_results(path)) == printed(path)


@pytest.mark.parametrize("n_images", [1, 4])
def test_without_the_answers_headline_and_printed_categories_remain(
    golden: Path, tmp_path: Path, n_images: int
) -> None:
    path = golden / f"out_pic{n_images}.txt"
    alone = tmp_path / path.name
    shutil.copyfile(path, alone)
    report = summarise_dpg_results(alone)
    assert dpg_results_text(report) == printed(path)
    assert report.groups["entity"].low == 0.0
    with pytest.raises(AlphaBenchError, match="alone does not say"):
        summarise_dpg_results(alone, protocol="strict")


@pytest.mark.parametrize("n_images", [1, 4])
def test_every_item_and_image_has_upstreams_score(golden: Path, n_images: int) -> None:
    results = read_results(golden / f"out_pic{n_images}.txt")
    judged = {item.id: item for item in items(golden, n_images)}
    assert set(results.scores) == set(judged) - {"first"}
    for name, scores in results.scores.items():
        item = judged[name]
        single = [
            JudgedItem(id=name, propositions=item.propositions, images=(one,)).score("official")
            for one in item.images
        ]
        assert tuple(single) == scores
    assert judged["first"].score("official") is None


@pytest.mark.parametrize("n_images", [1, 4])
def test_answers_and_details_tell_the_same(golden: Path, n_images: int) -> None:
    table = read_table((golden / "dpg_bench.csv").read_bytes())
    details = read_details(golden / f"out_pic{n_images}_detail.txt", table)
    for item in items(golden, n_images):
        found = details[item.id].images
        assert len(found) == n_images
        if item.id == "first":  # it failed during the first image, without its first question
            assert found == ({"2": 1.0, "3": 1.0}, *[{}] * (n_images - 1))
        else:
            assert found == item.images


def test_strict_repairs_the_dropped_item_and_the_categories(golden: Path) -> None:
    judged = items(golden, 4)
    official, strict = dpg_headline(judged, "official"), dpg_headline(judged, "strict")
    assert official.value == pytest.approx(0.465278, abs=1e-6)
    assert official.n_samples == 3
    # first: all yes, so 1; the other three as upstream scores them.
    assert strict.value == pytest.approx((1 + 0.625 + 0.4375 + 1 / 3) / 4)
    entity = {
        p: category_estimates(judged, p, broad=True)["entity"] for p in ("official", "strict")
    }
    assert entity["official"].value == pytest.approx(0.40)
    assert entity["strict"].n_expected == 4 * 7
    assert entity["strict"].value == pytest.approx((8 + 6 + 5 + 2) / 28)


def test_several_processes_scramble_upstreams_categories_and_not_its_headline(golden: Path) -> None:
    """Which is why published categories are worth little; ours do not depend on processes."""
    scrambled = (golden / "two_ranks_different_hash_seed_stdout.txt").read_text()
    assert "\tentity: 50.0" in scrambled
    judged = items(golden, 4)
    assert f"DPG-Bench score: {100 * (dpg_headline(judged, 'official').value or 0)}" in scrambled
    assert category_estimates(judged, "official", broad=True) == category_estimates(
        judged[::-1], "official", broad=True
    )


def test_the_golden_grids_have_upstreams_size_and_are_blank(golden: Path) -> None:
    for path in sorted((golden / "images").iterdir()):
        with pytest.raises(AlphaBenchError, match=f"{path.name}.* one colour"):
            split_grid(path, side=8)
