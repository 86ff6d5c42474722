"""The read model: images, absences and verdicts of a run folder, joined."""

from __future__ import annotations

import pytest

from alphabench.reports.gallery import gallery_html
from alphabench.runs.stored_run import ImageResult, StoredRun
from alphabench.types import OUT_OF, ImageRequest, NotGenerated, Verdict
from tests.support.stored_runs import IMAGES, Answer, RunMaker


def judged(*pairs: tuple[float | None, float | None]) -> ImageResult:
    verdicts = [
        Verdict(
            image_id="a/0",
            question_id=str(number),
            value=value,
            status="failed" if value is None else "scored",
            detail={} if out_of is None else {OUT_OF: out_of},
        )
        for number, (value, out_of) in enumerate(pairs)
    ]
    return ImageResult(image_id="a/0", record=None, absence=None, verdicts=verdicts)


@pytest.mark.parametrize(
    ("image", "state"),
    [
        (judged((1.0, None)), "right"),
        (judged((1.0, None), (0.9, None)), "partly"),
        (judged((10.0, 10.0)), "right"),
        (judged((8.0, 10.0)), "partly"),
        (judged((0.0, None), (0.0, 10.0)), "wrong"),
        (judged((1.0, None), (None, 10.0)), "unscored"),
        (judged(), "unscored"),
    ],
)
def test_an_image_is_right_with_full_marks_on_every_question(
    image: ImageResult, state: str
) -> None:
    assert image.state == state


def mixed(request: ImageRequest) -> Answer:
    if request.sample.id == "00000":
        return NotGenerated(status="refused", reason="the filter declined")
    return ("failed", "the detector broke") if request.sample.id == "00001" else 1.0


def test_an_image_that_was_not_made_has_a_reason_and_no_record(make_run: RunMaker) -> None:
    made = make_run(answer=mixed)
    first, second, third = made.run.sample_results(made.samples[:3], made.scored)
    assert {(i.record, i.reason) for i in first.images} == {
        (None, "no image (refused): the filter declined")
    }
    assert [image.reason for image in second.images] == ["failed: the detector broke"] * IMAGES
    assert [image.state for image in third.images] == ["right"] * IMAGES


def test_without_an_evaluation_all_images_are_unscored(make_run: RunMaker) -> None:
    made = make_run()
    results = made.run.sample_results(made.samples, None)
    assert {image.reason for result in results for image in result.images} == {"not scored yet"}


def test_verdicts_are_found_by_image_and_question(make_run: RunMaker) -> None:
    made = make_run()
    assert made.scored.by_image()["00003/1"]["correct"].value == 1.0


def test_a_damaged_image_is_absent_and_says_why(make_run: RunMaker) -> None:
    made = make_run()
    (made.folder.root / "images" / "00000" / "0.png").write_bytes(b"altered")
    (made.folder.root / "images" / "00000" / "1.png").unlink()
    run = StoredRun.of(made.folder, verify_images=True)
    reasons = [f"the image was {what} since it was made" for what in ("altered", "deleted")]
    assert [run.absences[f"00000/{i}"].reason for i in range(IMAGES)] == reasons
    assert [i.record for i in run.sample_results(made.samples[:1], made.scored)[0].images] == [
        None,
        None,
    ]
    html = gallery_html(run, made.samples, evaluation=made.scored)
    assert all(html.count(f"no image (failed): {reason}") == 1 for reason in reasons)


def test_unverified_images_count_as_they_were_made(make_run: RunMaker) -> None:
    """A published folder may come with its verdicts alone; it can still be compared."""
    made = make_run()
    for path in made.folder.root.glob("images/*/*.png"):
        path.unlink()
    assert made.run.absences == {}
    assert len(made.scored.verdicts) == len(made.samples) * IMAGES
    (made.folder.root / "images.jsonl").unlink()
    assert len(made.scored.verdicts) == len(made.samples) * IMAGES
