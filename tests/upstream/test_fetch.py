"""What a fetch in part says; see `tests/cli/test_show.py` for whole commands."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream.fetch import Fetched, Role, fetched_in_part

AWAY = AlphaBenchError("away", hint="come back")


def outcome(name: str, role: Role, error: AlphaBenchError | None = None) -> Fetched:
    words = None if error else "verified"
    return Fetched(
        subject=f"{name} (o/r)", licence="MIT", size="1 kB", role=role, words=words, error=error
    )


@pytest.mark.parametrize("error", [None, AWAY])
def test_all_or_nothing_is_no_part(error: AlphaBenchError | None) -> None:
    outcomes = [outcome("rise", "data", error), outcome("rise-judge", "wording", error)]
    assert fetched_in_part("rise", outcomes) is None


def test_without_official_wording_the_projects_own_is_left() -> None:
    outcomes = [outcome("rise", "data"), outcome("rise-judge", "wording", AWAY)]
    assert str(fetched_in_part("rise", outcomes)) == (
        "rise is fetched in part, without the judge's official wording (rise-judge); until then, "
        "a judge can be asked in the project's own wording alone: `--wording own`; "
        "`alphabench fetch rise` gets the rest from its source"
    )


def test_without_images_the_mini_split_is_left() -> None:
    outcomes = [outcome("rise", "data"), outcome("rise-images", "images", AWAY)]
    error = fetched_in_part("rise:64", outcomes)
    assert error is not None
    assert "the source images (rise-images); until then, only rise:mini" in error.message
