"""Evaluations that refine the images of another one, and what is compared between the two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from alphabench.core.errors import AlphaBenchError
from tests.support.stored_runs import Made, RunMaker
from tests.tools.results.campaign_tables import (
    SAMPLES,
    campaign_of,
    keep_scores,
    keep_training,
    table_file,
)
from tools.results.campaign.again import jobs_of_cells
from tools.results.campaign.contrasts import Contrast
from tools.results.campaign.evidence import Judged, Score
from tools.results.campaign.page import write_campaign_page
from tools.results.campaign.plan import Campaign
from tools.results.campaign.refined_images import images_generated, judged_samples
from tools.results.campaign.status import status_text
from tools.results.campaign.table import TableCell, load_table, table_cells

BASE, ONE = TableCell(condition="base", seed=None), TableCell(condition="one", seed=0)
GIVEN: Final = "f" * 64
REFINING: Final[Mapping[str, Any]] = {
    "evaluations": {
        "initial": {"benchmark": "geneval:mini", "conditions": ["base"]},
        "refined": {
            "benchmark": "geneval:mini",
            "options": ["--refine", "always"],
            "initial": "base/initial",
        },
    },
    "contrasts": [["refined", "initial"]],
}
START: Final[list[list[Score]]] = [[0, 0, 1, 1]] * len(SAMPLES)


def refining(folder: Path) -> Campaign:
    """A campaign that refines the base's images; nothing is kept."""
    return campaign_of(folder, **REFINING)


def kept(folder: Path) -> Campaign:
    """The base repairs one bad image of each prompt and spoils a good one; training does better."""
    campaign = refining(folder)
    keep_scores(campaign, BASE, START, "initial", images=4 * len(SAMPLES))
    by_condition: dict[str, list[Score]] = {
        "base": [1, 0, 0, 1], "one": [1, 1, 1, 1], "other": [1, 0, 1, "failed"]
    }  # fmt: skip
    for cell in table_cells(campaign.table):
        if cell.seed is not None:
            keep_training(campaign, cell, rewards=[0.5, 0.6])
        rows = [by_condition[cell.condition]] * len(SAMPLES)
        keep_scores(
            campaign, cell, rows, "refined", initial_images=GIVEN, images=8 * len(SAMPLES),
            judged=[Judged(images=4, first=2.0, last=3.0, worse=1)] * len(SAMPLES),
        )  # fmt: skip
    return campaign


def contrast(campaign: Campaign, cell: TableCell) -> Contrast:
    ours = campaign.evidence.evaluation(cell, "refined")
    theirs = campaign.evidence.evaluation(BASE, "initial")
    assert ours is not None
    assert theirs is not None
    from alphabench import open_benchmark
    from alphabench.reports.comparison import basis_of

    basis = basis_of(open_benchmark("geneval:mini"))
    return Contrast(ours={cell.seed: ours}, theirs={None: theirs}, basis=basis)


def test_a_contrast_says_what_was_gained_repaired_and_spoiled(tmp_path: Path) -> None:
    campaign = kept(tmp_path)
    base = contrast(campaign, BASE)
    assert (base.gain.value, base.worse.value, base.repaired.value) == (0.0, 0.25, 0.5)
    assert base.bad_images == [2 * len(SAMPLES)]
    one = contrast(campaign, ONE)
    assert (one.gain.value, one.worse.value, one.repaired.value) == (0.5, 0.0, 1.0)
    more = one.more_than(base)
    assert more is not None
    assert more.value == 0.5
    judged = (base.judged_gain, base.judged_worse)
    assert [one and one.value for one in judged] == [0.25, 0.25]


def test_an_image_without_a_score_is_left_out_and_counted(tmp_path: Path) -> None:
    other = contrast(kept(tmp_path), TableCell(condition="other", seed=0))
    assert other.gain.value == pytest.approx(1 / 3)
    assert (other.gain.n_scored, other.gain.n_expected) == (3 * len(SAMPLES), 4 * len(SAMPLES))
    assert other.worse.value == 0.0


def test_the_page_holds_evaluations_and_then_conditions_against_one_another(tmp_path: Path) -> None:
    page = write_campaign_page(kept(tmp_path)).read_text()
    part = page.partition("## refined − initial")[2]
    rows = [[one.strip() for one in line.split("|")[1:-1]] for line in part.splitlines()]
    base, one = (next(row for row in rows if row and row[0] == name) for name in ("base", "one"))
    assert (base[2][:6], one[2][:6]) == ("+0.000", "+0.500")
    assert [cell.split()[0] for cell in one[3:5]] == ["0.000", "1.000"]
    assert one[1] == "0, 1"
    assert one[5] == "12"
    assert one[-1] == "2.00 / 1.00"
    more = next(row for row in rows if row and row[0] == "one − base")
    assert more[2].startswith("+0.500 [")
    assert (
        "refined: geneval:mini, weights `ema`, --refine always, of the images of base/initial"
        in page
    )
    assert "share worse by the judge" in part
    assert "What is missing" not in page


def test_a_judge_that_compared_with_the_start_says_nothing_about_other_images(
    tmp_path: Path,
) -> None:
    campaign = kept(tmp_path)
    table = replace(campaign.table, contrasts=(("refined", "refined"),))
    page = write_campaign_page(replace(campaign, table=table)).read_text()
    assert "## refined − refined" in page
    assert "by the judge" not in page


def test_refinements_wait_for_the_images_that_they_refine(tmp_path: Path) -> None:
    campaign = refining(tmp_path)
    jobs = {job.name: job for job in campaign.jobs()}
    job, source = jobs["one, seed 1: refined"], jobs["base: initial"]
    assert job.needs == ("one, seed 1", "base: initial")
    out = source.words[source.words.index("--out") + 1]
    assert job.words[job.words.index("--refine-from") + 1] == out
    swapped = {**REFINING["evaluations"]["refined"], "initial": "swapped:base/initial"}
    tree = {**REFINING, "evaluations": {**REFINING["evaluations"], "swapped": swapped}}
    other = campaign_of(tmp_path, **tree)
    words = other.evaluation_job(ONE, "swapped").words
    assert words[words.index("--refine-from") + 1] == f"swapped:{out}"


def test_images_that_are_gone_are_made_again_for_those_that_refine_them(tmp_path: Path) -> None:
    campaign = kept(tmp_path)
    assert campaign.jobs() == []
    (campaign.evidence.folder(ONE) / "refined.json").unlink()
    names = [job.name for job in campaign.jobs()]
    assert names == ["base: initial", "one, seed 0", "one, seed 0: refined"]
    assert "kept; to be generated again for those that refine them" in status_text(campaign)
    source = campaign.evaluation_job(BASE, "initial")
    out = Path(source.words[source.words.index("--out") + 1])
    out.mkdir(parents=True)
    (out / "report.md").write_text("")
    assert next(job.name for job in campaign.jobs()) == "one, seed 0"


def test_a_row_from_scratch_makes_the_images_too(tmp_path: Path) -> None:
    names = [job.name for job in jobs_of_cells(refining(tmp_path), [ONE])]
    assert names == ["base: initial", "one, seed 0", "one, seed 0: refined"]


def test_images_of_another_start_are_not_kept_beside_these(tmp_path: Path) -> None:
    campaign = kept(tmp_path)
    (campaign.evidence.folder(ONE) / "refined.json").unlink()
    other = "the images of the untrained model changed"
    with pytest.raises(AlphaBenchError, match="refined other images than base: eeee") as error:
        campaign._refuse_other_initial(ONE, "refined", "e" * 64)
    assert other in error.value.hint
    campaign._refuse_other_initial(ONE, "refined", GIVEN)


def test_what_no_refinement_can_start_from_is_refused(tmp_path: Path) -> None:
    for initial, why in (
        ("one/refined", "a trained condition"),
        ("base/refined", "not one pass"),
        ("bas/initial", "did you mean"),
        ("base/start", "there is no evaluation"),
    ):
        plan = {**REFINING["evaluations"]["refined"], "initial": initial}
        tree = {**REFINING, "evaluations": {**REFINING["evaluations"], "refined": plan}}
        with pytest.raises(AlphaBenchError) as error:
            load_table(table_file(tmp_path, **tree))
        assert why in f"{error.value.message} {error.value.hint}", error.value


def test_plans_without_initial_images_are_kept_under_their_earlier_digest(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    assert campaign._run(BASE, "test").name == "test-67c5ed2a"


def noted(made: Made, histories: list[list[dict[str, object]]]) -> Made:
    """The run with these histories of refinement in the notes of its images, in order."""
    path = made.folder.root / "images.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, history in zip(rows, histories, strict=False):
        row["notes"] = {"refinement": history}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def test_notes_say_how_many_images_were_generated_and_what_the_judge_gave(tmp_path: Path) -> None:
    def step(before: float | None, after: float | None, *, taken: bool) -> dict[str, object]:
        return {"thought": "", "before": before, "after": after, "kept": taken}

    up, down, unscored = ([step(0.4, 0.7, taken=True)], [step(0.5, 0.25, taken=True)],
                          [step(None, 0.5, taken=True)])  # fmt: skip
    made = RunMaker(root=tmp_path, samples=SAMPLES[:2])
    always = noted(made(pixels={"checkpoint.refine": "always:1"}), [up, down, unscored])
    assert images_generated(always.run) == 7
    assert judged_samples(always.run, SAMPLES[:2]) == [
        Judged(images=2, first=0.9, last=0.95, worse=1),
        Judged(images=0, first=0.0, last=0.0, worse=0),
    ]
    gated = noted(made(pixels={"checkpoint.refine": "self:1"}), [up, down])
    assert judged_samples(gated.run, SAMPLES[:2]) == []
    assert images_generated(gated.run) == 6
    plain = made()
    assert (images_generated(plain.run), judged_samples(plain.run, SAMPLES[:2])) == (4, [])


def test_what_the_judge_gave_is_read_as_it_was_written(tmp_path: Path) -> None:
    campaign = kept(tmp_path)
    found = campaign.evidence.evaluation(ONE, "refined")
    assert found is not None
    assert found.judged[0] == Judged(images=4, first=2.0, last=3.0, worse=1)
    assert (found.images, found.initial_images) == (8 * len(SAMPLES), GIVEN)
    keep_scores(campaign, ONE, START, "refined", initial_images=GIVEN)
    again = campaign.evidence.evaluation(ONE, "refined")
    assert again is not None
    assert (list(again.judged), again.images) == ([], None)
    assert replace(found, scores=[]) != replace(again, scores=[])
