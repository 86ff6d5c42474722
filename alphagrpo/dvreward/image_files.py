"""Pictures outside a run: which line of a question file each is about, ready for an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_unchanged
from alphabench.runs.store import sha256_of
from alphabench.types import GeneratedImage, ImageRequest
from alphagrpo.dvreward.question_files import QuestionSet
from alphagrpo.dvreward.sources import to_sample


def images_with_questions(
    paths: Sequence[Path], sets: Sequence[QuestionSet], *, line: int | None = None
) -> list[GeneratedImage]:
    """Each picture with the questions of its prompt.

    Args:
        paths: PNG or JPEG files.
        sets: a question file.
        line: the number of the prompt, from 1, for all pictures; None takes the only one, or the
            prompt that AlphaBench wrote into each picture.

    Raises:
        AlphaBenchError: a picture that cannot be opened, or whose prompt is not known.
    """
    if line is not None and not 1 <= line <= len(sets):
        raise AlphaBenchError(
            f"there is no line {line} among {len(sets)} prompts", hint=f"take 1 to {len(sets)}"
        )
    found = []
    for index, path in enumerate(paths):
        written = _prompt_in(path)
        place = line - 1 if line is not None else _place(written, sets, path)
        request = ImageRequest(sample=to_sample(place, sets[place]), index=index, seed=0)
        found.append(
            GeneratedImage(request=request, path=path, sha256=sha256_of(path), seconds=0.0)
        )
    return found


def _prompt_in(path: Path) -> str | None:
    try:
        prompt = open_unchanged(path).info.get("prompt")
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"{str(path)!r} is no picture that can be opened ({error})",
            hint="name PNG or JPEG files",
        ) from error
    return prompt if isinstance(prompt, str) else None


def _place(written: str | None, sets: Sequence[QuestionSet], path: Path) -> int:
    places = [place for place, one in enumerate(sets) if one.prompt == written]
    if not places and len(sets) == 1 and written is None:
        return 0
    if not places:
        said = "says nothing of its prompt" if written is None else f"was made for {written!r}"
        raise AlphaBenchError(
            f"{str(path)!r} {said}, and the question file has {len(sets)} prompts",
            hint="name the prompt's number with --line",
        )
    return places[0]
