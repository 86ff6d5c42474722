"""Images that belong to no run: finds each one's line in a question file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_unchanged
from alphabench.runs.store import sha256_of
from alphabench.types import GeneratedImage, ImageRequest
from alphagrpo.dvreward.prompt_sources import to_sample
from alphagrpo.dvreward.question_files import QuestionSet


def images_with_questions(
    paths: Sequence[Path], sets: Sequence[QuestionSet], *, line: int | None = None
) -> list[GeneratedImage]:
    """Each image with the questions of its prompt.

    Args:
        paths: PNG or JPEG files.
        sets: a question file.
        line: the number of the prompt, from 1, for all images; None takes the only one, or the
            prompt that AlphaBench wrote into each image.

    Raises:
        AlphaBenchError: an image that cannot be opened, or whose prompt is not known.
    """
    if line is not None and not 1 <= line <= len(sets):
        raise AlphaBenchError(
            f"there is no line {line} among {len(sets)} prompts", hint=f"take 1 to {len(sets)}"
        )
    images = []
    for index, path in enumerate(paths):
        written = _prompt_in(path)
        position = line - 1 if line is not None else _position(written, sets, path)
        request = ImageRequest(sample=to_sample(position, sets[position]), index=index, seed=0)
        images.append(
            GeneratedImage(request=request, path=path, sha256=sha256_of(path), seconds=0.0)
        )
    return images


def _prompt_in(path: Path) -> str | None:
    try:
        prompt = open_unchanged(path).info.get("prompt")
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be opened as an image ({error})",
            hint="name PNG or JPEG files",
        ) from error
    return prompt if isinstance(prompt, str) else None


def _position(written: str | None, sets: Sequence[QuestionSet], path: Path) -> int:
    positions = [position for position, one in enumerate(sets) if one.prompt == written]
    if not positions and len(sets) == 1 and written is None:
        return 0
    if not positions:
        reason = "does not store its prompt" if written is None else f"was made for {written!r}"
        raise AlphaBenchError(
            f"{str(path)!r} {reason}, and the question file has {len(sets)} prompts",
            hint="name the prompt's number with --line",
        )
    return positions[0]
