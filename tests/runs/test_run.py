"""A run does what is lacking, once; how it is done changes nothing that it finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.generation import generate_images
from alphabench.runs.plan import CheckpointFactory, RunPlan, open_evaluation, plan_run
from alphabench.runs.run import Outcome, Work, execute_plan, score_run, summarise_all, summarise_run
from alphabench.runs.store import RunFolder
from alphabench.runs.stored_run import StoredRun
from alphabench.types import NOTES, REVISED_PROMPT, ImageRequest, NotGenerated
from tests.support.fakes import Brightness, Dots, Reds


def opened(dots: Dots) -> CheckpointFactory:
    def the_one(*, device: str) -> Generator:
        return dots

    return CheckpointFactory(name="dots", open=the_one)


def fresh_dots(*, device: str) -> Generator:
    return Dots()


def planned(
    out: Path,
    reds: Reds | None = None,
    dots: Dots | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> RunPlan:
    return plan_run(reds or Reds(), opened(dots or Dots()), out=out, limit=limit, seed=seed)


def ran(
    out: Path,
    reds: Reds | None = None,
    dots: Dots | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Outcome:
    plan = planned(out, reds, dots, limit=limit, seed=seed)
    return execute_plan(plan, open_evaluation(plan.benchmark, "brightness"), Work())


def hashes(folder: RunFolder) -> dict[str, str]:
    return {name: record.sha256 for name, record in folder.images().items()}


def test_a_run_makes_scores_and_reports_every_image(tmp_path: Path) -> None:
    outcome = ran(tmp_path / "run")
    assert len(outcome.folder.images()) == 24
    assert outcome.report.coverage == 1.0
    assert not outcome.report.partial
    assert not outcome.incomplete
    assert (tmp_path / "run" / "report.md").exists()
    assert (tmp_path / "run" / "gallery.html").exists()


def test_a_second_run_makes_and_asks_nothing(tmp_path: Path) -> None:
    first = ran(tmp_path / "run")
    dots, examiner = Dots(), Brightness()
    second = ran(tmp_path / "run", Reds(examiner=examiner), dots)
    assert (dots.made, examiner.seen) == ([], [])
    assert second.report == first.report


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batch_size_changes_no_image_and_no_verdict(tmp_path: Path, batch_size: int) -> None:
    usual = ran(tmp_path / "usual")
    other = ran(
        tmp_path / "other",
        Reds(examiner=Brightness(batch_size=batch_size)),
        Dots(batch_size=batch_size),
    )
    assert hashes(other.folder) == hashes(usual.folder)
    assert other.report == usual.report


@dataclass
class Kernelless(Brightness):
    """An evaluator on a build that cannot compute it."""

    def self_test(self) -> None:
        raise RuntimeError("no kernel image is available")


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_a_self_test_that_breaks_off_is_one_sentence(
    tmp_path: Path, devices: tuple[str, ...]
) -> None:
    plan = planned(tmp_path / "run", Reds(examiner=Kernelless()))
    evaluation = open_evaluation(plan.benchmark, "brightness")
    with pytest.raises(AlphaBenchError, match="the self-test could not run: RuntimeError: no kern"):
        execute_plan(plan, evaluation, Work(devices=devices))


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    alone = ran(tmp_path / "alone")
    checkpoint = CheckpointFactory(name="dots", open=fresh_dots)
    plan = plan_run(Reds(), checkpoint, out=tmp_path / "two")
    evaluation = open_evaluation(plan.benchmark, "brightness")
    both = execute_plan(plan, evaluation, Work(devices=("cpu", "cpu")))
    assert hashes(both.folder) == hashes(alone.folder)
    assert both.report == alone.report


def test_a_limited_run_is_partial_and_its_images_are_those_of_the_full_run(tmp_path: Path) -> None:
    full = ran(tmp_path / "full")
    limited = ran(tmp_path / "limited", limit=6)
    assert limited.report.partial
    assert len(limited.folder.images()) == 12
    assert {g: e.n_samples for g, e in limited.report.groups.items()} == {"g0": 2, "g1": 2, "g2": 2}
    assert hashes(limited.folder).items() <= hashes(full.folder).items()


def test_a_limited_run_grows_into_the_full_one(tmp_path: Path) -> None:
    full = ran(tmp_path / "full")
    ran(tmp_path / "grown", limit=5)
    dots = Dots()
    grown = ran(tmp_path / "grown", dots=dots)
    assert len(dots.made) == 24 - 10
    assert grown.report == full.report


def test_another_seed_makes_other_images_and_may_not_share_the_folder(tmp_path: Path) -> None:
    one = ran(tmp_path / "one", seed=1)
    two = ran(tmp_path / "two", seed=2)
    assert not set(hashes(one.folder).values()) & set(hashes(two.folder).values())
    with pytest.raises(AlphaBenchError, match="seed: '1' -> '2'"):
        ran(tmp_path / "one", seed=2)


@pytest.mark.parametrize("stop_after", [0, 1, 5, 11, 23])
def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    undisturbed = ran(tmp_path / "undisturbed")

    class Interrupted(Dots):
        def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
            if len(self.made) >= stop_after:
                raise KeyboardInterrupt
            return super().generate(requests)

    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "run", dots=Interrupted(batch_size=1))
    resumed = ran(tmp_path / "run")
    assert hashes(resumed.folder) == hashes(undisturbed.folder)
    assert resumed.report == undisturbed.report


def damage_deleted(path: Path) -> None:
    path.unlink()


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def damage_swapped(path: Path) -> None:
    path.write_bytes((path.parent.parent / "2-3" / "1.png").read_bytes())


@pytest.mark.parametrize("harm", [damage_deleted, damage_truncated, damage_swapped])
def test_a_damaged_image_is_made_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    first = ran(tmp_path / "run")
    before = hashes(first.folder)
    harm(tmp_path / "run" / "images" / "0-1" / "0.png")
    dots = Dots()
    second = ran(tmp_path / "run", dots=dots)
    assert dots.made == ["0-1/0"]
    assert hashes(second.folder) == before
    assert second.report == first.report
    if harm is not damage_deleted:
        assert len(list((tmp_path / "run" / "images" / "0-1").glob("0.altered-*.png"))) == 1


def test_a_damaged_image_is_not_scored_but_counted(tmp_path: Path) -> None:
    folder = ran(tmp_path / "run").folder
    damage_truncated(tmp_path / "run" / "images" / "0-1" / "0.png")
    reds = Reds()
    outcome = score_run(folder, reds, open_evaluation(reds, "brightness"), Work())
    assert outcome.report.statuses == {"scored": 23, "failed": 1}
    assert outcome.incomplete


def test_an_image_that_changed_since_its_verdict_is_asked_about_again(tmp_path: Path) -> None:
    folder = ran(tmp_path / "run").folder
    (one,) = [s for s in folder.verdicts(folder.evaluations()[0]) if s.verdict.image_id == "0-0/0"]
    with folder.locked():
        folder.append_verdicts(folder.evaluations()[0], [replace(one, image_sha256="f" * 64)])
    examiner = Brightness()
    ran(tmp_path / "run", Reds(examiner=examiner))
    assert examiner.seen == ["0-0/0"]


def test_refused_and_failed_images_are_counted_apart_and_are_never_zeros(tmp_path: Path) -> None:
    usual = ran(tmp_path / "usual").report
    dots = Dots(refuse=frozenset({"0-0/0"}), crash=frozenset({"1-1/1"}), batch_size=4)
    outcome = ran(tmp_path / "run", dots=dots)
    report = outcome.report
    assert report.statuses == {"scored": 22, "refused": 1, "failed": 1}
    assert report.coverage == 22 / 24
    assert report.groups["g2"] == usual.groups["g2"]
    assert report.bounds is not None
    assert report.headline.value is not None
    assert report.bounds[0] < report.headline.value < report.bounds[1]
    run, reds = StoredRun.of(outcome.folder), Reds()
    verdicts = run.expected_verdicts(reds, outcome.samples, outcome.evaluation)
    reasons = {v.image_id: v.detail["reason"] for v in verdicts if v.status != "scored"}
    assert reasons["0-0/0"] == "not this one"
    assert "cannot make" in reasons["1-1/1"]


class Arrays(Dots):
    """Returns an array for each image, and for two samples none that could be one."""

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        arrays: list[Any] = []
        for request in requests:
            value = {"0-0": np.nan, "1-0": 255.0}.get(request.sample.id, 0.5)
            arrays.append(np.full((8, 8, 3), value, dtype=np.float32))
        return arrays


def test_arrays_are_images_only_where_their_brightness_is_known(tmp_path: Path) -> None:
    outcome = ran(tmp_path / "run", dots=Arrays())
    reasons = {one.reason for one in outcome.folder.not_made().values()}
    assert len(outcome.folder.images()) == 20
    assert reasons == {
        "the image is unusable: its values run from nan to nan, not from 0 to 1",
        "the image is unusable: its values run from 255 to 255, not from 0 to 1",
    }


def test_a_checkpoint_that_makes_nothing_is_left_after_some_whole_batches(tmp_path: Path) -> None:
    dots = Dots(fail=None, batch_size=5)
    with pytest.raises(AlphaBenchError, match="first 20 images all failed, all of them with: HTTP"):
        ran(tmp_path / "run", dots=dots)
    assert len(dots.made) == 20
    assert ran(tmp_path / "run").report == ran(tmp_path / "usual").report


class Doubling(Dots):
    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        return [*super().generate(requests), *super().generate(requests)]


def test_a_checkpoint_that_makes_another_number_of_images_says_so(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="gave 2 images for 1 requests"):
        ran(tmp_path / "run", dots=Doubling())


def test_a_short_run_of_which_every_image_fails_stops_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="first 2 images all failed"):
        ran(tmp_path / "run", dots=Dots(fail=None), limit=1)


def test_images_that_can_never_be_made_come_last_and_hold_up_no_other(tmp_path: Path) -> None:
    every = [request.id for request in planned(tmp_path / "plan").requests]
    poison = frozenset(every[:17])
    with pytest.raises(AlphaBenchError, match="all failed"):
        ran(tmp_path / "run", dots=Dots(fail=poison, batch_size=4))
    second = ran(tmp_path / "run", dots=Dots(fail=poison, batch_size=4))
    assert second.report.statuses == {"scored": 7, "failed": 17}
    third = ran(tmp_path / "run", dots=Dots(fail=poison, batch_size=4))
    assert third.report == second.report, "nothing new, and still a report"
    assert third.reasons == ("17 failed: HTTP 503: busy",)


class Rewriting(Dots):
    """A host that generates the first sample's images from text of its own."""

    def _one(self, request: ImageRequest) -> Image | NotGenerated:
        image = super()._one(request)
        if isinstance(image, Image) and request.sample.id == "0-0":
            image.info[NOTES] = {REVISED_PROMPT: "another prompt"}
        return image


def test_the_report_says_how_many_prompts_a_host_rewrote(tmp_path: Path) -> None:
    outcome = ran(tmp_path / "run", dots=Rewriting())
    assert outcome.folder.images()["0-0/0"].notes == {REVISED_PROMPT: "another prompt"}
    (note,) = outcome.report.notes
    assert note.startswith("the host rewrote 2 of 24 prompts")
    assert note in (outcome.folder.root / "report.md").read_text()


def test_what_failed_is_tried_again_and_what_was_done_is_not(tmp_path: Path) -> None:
    ran(tmp_path / "run", dots=Dots(crash=frozenset({"1-1/1"})))
    dots = Dots()
    outcome = ran(tmp_path / "run", dots=dots)
    assert dots.made == ["1-1/1"]
    assert outcome.report == ran(tmp_path / "usual").report


def test_only_questions_without_an_answer_are_asked_again(tmp_path: Path) -> None:
    unread = Brightness(unparsed=frozenset({"0-0/0", "2-3/1"}))
    first = ran(tmp_path / "run", Reds(examiner=unread))
    assert first.report.statuses == {"scored": 22, "unparsed": 2}
    examiner = Brightness()
    second = ran(tmp_path / "run", Reds(examiner=examiner))
    assert sorted(examiner.seen) == ["0-0/0", "2-3/1"]
    assert second.report.coverage == 1.0


def test_a_broken_evaluator_refuses_before_any_image_is_made(tmp_path: Path) -> None:
    dots = Dots()
    with pytest.raises(AlphaBenchError, match="broken"):
        ran(tmp_path / "run", Reds(examiner=Brightness(broken=True)), dots)
    assert dots.made == []


def test_a_finished_run_loads_no_evaluator(tmp_path: Path) -> None:
    first = ran(tmp_path / "run")
    second = ran(tmp_path / "run", Reds(examiner=Brightness(broken=True)))
    assert second.report == first.report
    (tmp_path / "run" / "images" / "0-1" / "0.png").unlink()
    assert ran(tmp_path / "run", dots=Dots()).report == first.report


def test_two_evaluators_share_images_and_keep_their_verdicts_apart(tmp_path: Path) -> None:
    lenient = ran(tmp_path / "run", Reds(examiner=Brightness(threshold=0)))
    dots = Dots()
    strict = ran(tmp_path / "run", Reds(examiner=Brightness(threshold=255)), dots)
    assert dots.made == []
    assert lenient.report.headline.value == 1.0
    assert strict.report.headline.value is not None
    assert strict.report.headline.value < 0.2
    assert len(strict.folder.evaluations()) == 2
    again = summarise_run(strict.folder, Reds(), lenient.evaluation)
    assert again.report == lenient.report


def test_images_made_on_one_machine_are_scored_on_another(tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole")
    generate_images(planned(tmp_path / "here"), Work())
    (tmp_path / "here").rename(tmp_path / "there")
    reds = Reds()
    moved = RunFolder.open(tmp_path / "there")
    outcome = score_run(moved, reds, open_evaluation(reds, "brightness"), Work())
    assert outcome.report == whole.report


def test_figures_are_worked_out_where_nothing_can_be_written(tmp_path: Path) -> None:
    first = ran(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "reports")
    (tmp_path / "run" / "reports").write_text("a file in the folder's place")
    (outcome,) = summarise_all(RunFolder.open(tmp_path / "run"), lambda _name, _protocol: Reds())
    assert outcome.report == first.report
    assert "cannot be written" in outcome.unwritten


def test_a_run_of_other_data_is_not_scored(tmp_path: Path) -> None:
    folder = ran(tmp_path / "run").folder
    other = Reds(digest="1" * 64)
    with pytest.raises(AlphaBenchError, match="other data"):
        score_run(folder, other, open_evaluation(other, "brightness"), Work())


def test_a_checkpoint_that_can_make_nothing_is_refused(tmp_path: Path) -> None:
    class Unable(Dots):
        def refusals(self, requests: Sequence[ImageRequest]) -> dict[str, str]:
            return {request.id: "no dots today" for request in requests}

    with pytest.raises(AlphaBenchError, match="none of these images: no dots today"):
        planned(tmp_path / "run", dots=Unable())


def test_what_a_checkpoint_cannot_make_is_refused_in_the_account(tmp_path: Path) -> None:
    class Selective(Dots):
        def refusals(self, requests: Sequence[ImageRequest]) -> dict[str, str]:
            return {r.id: "not my world" for r in requests if r.sample.group == "g1"}

    outcome = ran(tmp_path / "run", dots=Selective())
    assert outcome.report.statuses == {"scored": 16, "refused": 8}
    assert outcome.report.groups["g1"].value is None
    assert outcome.report.partial
    assert outcome.incomplete


@dataclass
class Narrow(Brightness):
    """Cannot score images of some groups, whatever they show."""

    strange: tuple[str, ...] = ()

    def refusals(self, requests: Sequence[ImageRequest]) -> dict[str, str]:
        return {r.id: "a word too many" for r in requests if r.sample.group in self.strange}


def test_an_evaluator_that_cannot_score_most_images_is_refused_before_any_is_made(
    tmp_path: Path,
) -> None:
    dots = Dots()
    with pytest.raises(AlphaBenchError, match="cannot score 16 of these 24 images: a word too"):
        ran(tmp_path / "run", Reds(examiner=Narrow(strange=("g0", "g1"))), dots)
    assert dots.made == []
    assert ran(tmp_path / "run", Reds(examiner=Narrow(strange=("g0",))), dots).report.coverage == 1


def test_a_benchmark_opened_in_each_worker_is_the_same(tmp_path: Path) -> None:
    evaluation = open_evaluation(Reds(), "brightness")
    assert isinstance(evaluation.open, partial)
    assert evaluation.id == open_evaluation(Reds(), "brightness").id
    assert evaluation.id != open_evaluation(Reds(protocol="strict"), "brightness").id
