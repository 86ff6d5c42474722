"""What became of an image, told from its verdicts."""

from __future__ import annotations

import pytest

from alphabench.reports.image_results import OUT_OF, JudgedImage
from alphabench.types import Verdict


def judged(*pairs: tuple[float | None, float | None]) -> JudgedImage:
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
    return JudgedImage(image_id="a/0", record=None, not_made=None, verdicts=verdicts)


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
    image: JudgedImage, state: str
) -> None:
    assert image.state == state
