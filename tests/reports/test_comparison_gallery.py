from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from alphabench.reports.comparison import ComparisonBasis, compare_runs
from alphabench.reports.comparison_gallery import comparison_gallery_parts
from alphabench.types import ImageRequest
from tests.support.stored_runs import Answer, Made, RunMaker


def page_of(before: Made, after: Made, folder: Path, **settings: int) -> str:
    basis = ComparisonBasis(samples=max(before.samples, after.samples, key=len))
    return "".join(
        comparison_gallery_parts(
            (before.run, after.run),
            compare_runs(before.run, after.run, basis),
            basis.samples,
            evaluation=before.evaluation,
            page_folder=folder,
            **settings,
        )
    )


def cards_of(page: str) -> list[dict[str, Any]]:
    (block,) = re.findall(r'(?s)<script type="application/json" id="cards">(.*?)</script>', page)
    cards: list[dict[str, Any]] = json.loads(block)
    return cards


def states(page: str) -> list[str]:
    return [entry["state"] for card in cards_of(page) for entry in card["entries"]]


def on_first(*answers: Answer) -> Any:
    """Answers for the first samples, in order; 1.0 for the others."""

    def answer(request: ImageRequest) -> Answer:
        number = int(request.sample.id)
        return answers[number] if number < len(answers) else 1.0

    return answer


def test_each_pair_says_which_run_was_right(make_run: RunMaker) -> None:
    before = make_run("a", answer=on_first(0.0, 1.0, 0.0, 0.5, 0.5, 0.5, ("failed", "broke")))
    after = make_run("b", answer=on_first(1.0, 0.0, 0.0, 0.75, 0.25, 0.5, 1.0))
    found = states(page_of(before, after, make_run.root))[::2]
    known = ["gained", "lost", "both-wrong", "higher", "lower", "equal", "unscored"]
    assert found == [*known, *["both-right"] * 5]


def test_samples_carry_the_mean_difference_of_their_pairs(make_run: RunMaker) -> None:
    before = make_run("a", answer=lambda request: float(request.index))
    after = make_run("b", answer=on_first(1.0, 0.0, ("failed", "broke")))
    scores = [card.get("score") for card in cards_of(page_of(before, after, make_run.root))]
    assert scores[:4] == [0.5, -0.5, None, 0.5]


def test_images_are_found_from_the_folder_of_the_page(make_run: RunMaker) -> None:
    before, after = make_run("a"), make_run("b")
    folder = make_run.root / "pages"
    folder.mkdir()
    sides = cards_of(page_of(before, after, folder, most_embedded=0))[0]["entries"][0]["sides"]
    assert [(folder / side["src"]).resolve() for side in sides] == [
        (made.folder.root / "images" / "00000" / "0.png").resolve() for made in (before, after)
    ]
    embedded = cards_of(page_of(before, after, folder))[0]["entries"][0]["sides"]
    assert all(side["src"].startswith("data:image/png") for side in embedded)


def test_only_samples_of_both_runs_are_shown(make_run: RunMaker) -> None:
    page = page_of(make_run("a", limit=4), make_run("b"), make_run.root)
    assert len(cards_of(page)) == 4
    assert "<b>PARTIAL, A</b>: the run was limited to 4 samples." in page


def test_the_head_says_whether_the_runs_differ(make_run: RunMaker) -> None:
    before = make_run("a", answer=lambda _: 0.0)
    page = page_of(before, make_run("b"), make_run.root)
    assert "<strong>+1.000</strong><span>B minus A, distinguishable</span>" in page
    same = page_of(before, make_run("c", answer=lambda _: 0.0), make_run.root)
    assert "<strong>+0.000</strong><span>B minus A, not distinguishable</span>" in same


def test_different_seeds_are_said_and_equal_names_are_told_apart(make_run: RunMaker) -> None:
    before, after = make_run("a"), make_run("a", pixels={"seed": "3"})
    page = page_of(before, after, make_run.root)
    assert "<b>DIFFERENT SEEDS</b>: 0 and 3" in page
    assert f"<bdi>a ({after.folder.root.name})</bdi>" in page
    assert "<td>A: 0 · B: 3</td>" in page


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=1>'])
def test_names_of_runs_are_escaped(make_run: RunMaker, name: str) -> None:
    page = page_of(make_run(name), make_run("b"), make_run.root)
    assert name not in page
