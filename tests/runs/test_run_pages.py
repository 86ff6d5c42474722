"""A second evaluation of a run leaves the pages of the first."""

from __future__ import annotations

import os
from pathlib import Path

from alphabench.interfaces import Generator
from alphabench.runs.plan import CheckpointFactory, open_evaluation, plan_run
from alphabench.runs.run import Outcome, Work, execute_plan, score_run, summarise_all
from alphabench.runs.run_pages import GALLERY_FILE, REPORT_FILE
from tests.support.fakes import Dots, Reds


def dots(*, device: str) -> Generator:
    return Dots()


def first_of(root: Path) -> Outcome:
    plan = plan_run(Reds(), CheckpointFactory(name="dots", open=dots), out=root, limit=3)
    return execute_plan(plan, open_evaluation(Reds(), "brightness"), Work())


def second_of(first: Outcome) -> Outcome:
    return score_run(first.folder, Reds(), open_evaluation(Reds(), "bright"), Work())


def test_a_single_evaluation_has_the_plain_pages_alone(tmp_path: Path) -> None:
    outcome = first_of(tmp_path / "run")
    assert outcome.pages == {name: tmp_path / "run" / name for name in (REPORT_FILE, GALLERY_FILE)}
    assert len(list((tmp_path / "run").glob("report*.md"))) == 1


def test_a_second_evaluation_gets_pages_of_its_own_and_so_does_the_first(tmp_path: Path) -> None:
    root = tmp_path / "run"
    first = first_of(root)
    before = (root / REPORT_FILE).read_text()
    second = second_of(first)
    kept, own = (root / f"report-{one.evaluation}.md" for one in (first, second))
    assert second.pages[REPORT_FILE] == own
    gallery = second.pages[GALLERY_FILE].name
    assert gallery == f"gallery-{second.evaluation}.html"
    assert (root / REPORT_FILE).read_text() == own.read_text() != before
    mine = f"gallery-{first.evaluation}.html"
    assert kept.read_text() == before.replace(GALLERY_FILE, mine)
    assert f"({gallery})" in own.read_text()
    assert (root / mine).is_file()


def test_summarising_leaves_the_newest_scoring_in_the_plain_page(tmp_path: Path) -> None:
    root = tmp_path / "run"
    first = first_of(root)
    second = second_of(first)
    for newest, other in ((first, second), (second, first)):
        for outcome, when in ((other, 1_000), (newest, 2_000)):
            os.utime(root / "verdicts" / f"{outcome.evaluation}.jsonl", (when, when))
        last = summarise_all(first.folder, lambda _name, _protocol: Reds())[-1]
        assert last.evaluation == newest.evaluation
        page = (root / REPORT_FILE).read_text()
        assert page == (root / f"report-{newest.evaluation}.md").read_text()
