"""mPLUG as DPG-Bench's official answerer, natively: the bare question in, a few words out.

Takes the folder that ModelScope released (or `alphabench fetch mplug` brought) and answers as its
pipeline does, a picture encoded once for all questions that follow each other about it. To the rest
of the harness it is a judge; which answers count is the benchmark's affair. Needs neither
modelscope nor fairseq.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.mplug.mplug_self_test import run_self_test
from alphabench.evaluators.mplug.released_files import FILES, folder_of
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.judges.data_uris import UnusablePictureError, read_picture
from alphabench.judges.in_process import answers_in_batches
from alphabench.judges.openai.chat_api import LastingError
from alphabench.questions import Answer, Capabilities, Picture, Question, Reply
from alphabench.weights.digest import digest_files
from alphabench.weights.find import NotHereError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from alphabench.models.mplug.loading import LoadedMplug

NAME: Final = "mplug"
_AT_ONCE: Final = 64
"""Questions read ahead."""
_QUESTIONS: Final = 8
"""About one picture, in one pass."""
_PICTURES: Final = 4
"""In one pass of the encoder."""
_REMEMBERED: Final = 8
"""Encoded pictures that are kept, 4 MB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugOptions:
    """What `mplug?key=value` takes."""

    weights: Path | None = None
    """Folder of the released model; None takes what `alphabench fetch mplug` brought."""
    self_test: bool = True
    """Check the computation, and ask what is known of bundled pictures, before scoring."""


class Asked(NamedTuple):
    """A question, ready for the model."""

    sha256: str
    image: Image
    text: str


class MplugJudge:
    """Answers questions about one picture each. Picklable until the first use of its weights.

    Args:
        options: see `MplugOptions`.
        device: of torch.
        cache_dir: where fetched weights lie.
    """

    def __init__(self, options: MplugOptions, *, device: str, cache_dir: Path) -> None:
        self.options = options
        self.device = device
        self.folder = _existing_folder(options, cache_dir)
        self._looked_at: OrderedDict[str, Tensor] = OrderedDict()
        self._opened: tuple[str, Image] | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        """Reads the weights' bytes, and loads nothing."""
        return {
            "kind": NAME,
            "model": f"mplug {self._digest}",
            "library": f"transformers {version('transformers')}, torch {version('torch')}",
            "self_test": "on" if self.options.self_test else "off",
        }

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(images_per_question=1, logprobs=False)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; a question is one picture and one text."""
        return answers_in_batches(questions, self._prepare, self._reply, size=_AT_ONCE)

    def shake_hands(self, needs: Capabilities) -> None:
        """See `mplug_self_test.run_self_test`; does nothing under `self_test=off`."""
        del needs
        if self.options.self_test:
            run_self_test(self.answers, device=self.device)

    def answers(self, asked: Sequence[tuple[Image, str]]) -> list[str]:
        """What the model says to each (picture, question), in order."""
        ready = [
            Asked(hashlib.sha256(image.tobytes()).hexdigest(), image, text) for image, text in asked
        ]
        return [reply.text for reply in self._reply(ready)]

    def _prepare(self, question: Question) -> Asked:
        pictures = [part for part in question.parts if isinstance(part, Picture)]
        texts = [part for part in question.parts if isinstance(part, str)]
        if len(pictures) != 1 or len(texts) != 1 or question.system:
            raise LastingError("mPLUG takes one picture and one question, and nothing else")
        (picture,) = pictures
        if self._opened is None or self._opened[0] != picture.sha256:
            self._opened = (picture.sha256, _read(picture))
        return Asked(picture.sha256, self._opened[1], texts[0])

    def _reply(self, asked: Sequence[Asked]) -> list[Reply]:
        """Replies in order; questions about one picture are answered together."""
        self._look_at(asked)
        by_picture: dict[str, list[int]] = {}
        for place, one in enumerate(asked):
            by_picture.setdefault(one.sha256, []).append(place)
        replies: dict[int, Reply] = {}
        for sha256, places in by_picture.items():
            for first in range(0, len(places), _QUESTIONS):
                some = places[first : first + _QUESTIONS]
                texts = [asked[place].text for place in some]
                replies |= zip(some, self._answer(sha256, texts), strict=True)
        self._forget()
        return [replies[place] for place in range(len(asked))]

    def _look_at(self, asked: Sequence[Asked]) -> None:
        """Encode what was not looked at yet."""
        from alphabench.models.mplug.image_processing import pixels_of

        model = self._loaded.model
        new = {one.sha256: one.image for one in asked if one.sha256 not in self._looked_at}
        names = list(new)
        for first in range(0, len(names), _PICTURES):
            some = names[first : first + _PICTURES]
            pixels_B3RR = pixels_of(
                [new[name] for name in some], side=model.design.picture.image_res
            )
            looked_BID = model.look(pixels_B3RR.to(self.device))
            self._looked_at.update(zip(some, looked_BID, strict=True))

    def _answer(self, sha256: str, texts: Sequence[str]) -> list[Reply]:
        loaded = self._loaded
        token_QT, seen_QT = loaded.words.encode(texts)
        answer_QT = loaded.model.answer(
            self._looked_at[sha256], token_QT.to(self.device), seen_QT.to(self.device)
        )
        self._looked_at.move_to_end(sha256)
        n_read = seen_QT.sum(dim=1).tolist()
        return [
            Reply(text=text, model=NAME, tokens_in=n_in, tokens_out=len(text.split()))
            for text, n_in in zip(loaded.words.decode(answer_QT), n_read, strict=True)
        ]

    def _forget(self) -> None:
        while len(self._looked_at) > _REMEMBERED:
            self._looked_at.popitem(last=False)

    @cached_property
    def _digest(self) -> str:
        return digest_files(self.folder, [self.folder / name for name in FILES])

    @cached_property
    def _loaded(self) -> LoadedMplug:
        from alphabench.models.mplug.loading import load_mplug

        return load_mplug(self.folder, device=self.device)


def open_mplug(options: Mapping[str, str], *, device: str, cache_dir: Path) -> MplugJudge:
    """The answerer; nothing is loaded yet.

    Args:
        options: fields of `MplugOptions` as text.
        device: of torch.
        cache_dir: where fetched weights lie.

    Raises:
        AlphaBenchError: an unknown option, or a folder without the model's files.
    """
    chosen = text_options.fill(MplugOptions, options, owner=NAME)
    return MplugJudge(chosen, device=device, cache_dir=cache_dir)


def _existing_folder(options: MplugOptions, cache_dir: Path) -> Path:
    folder = folder_of(cache_dir) if options.weights is None else options.weights.expanduser()
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent and options.weights is None:
        raise NotHereError(
            "mPLUG's weights are not on this machine",
            hint="run `alphabench fetch mplug`, or give mplug?weights=FOLDER",
        )
    if absent:
        raise AlphaBenchError(
            f"the folder {str(folder)!r} has no {absent[0]!r}",
            hint=f"give the folder as ModelScope released it, with {', '.join(FILES)}",
        )
    return folder.absolute()


def _read(picture: Picture) -> Image:
    """The picture as RGB.

    Raises:
        UnusablePictureError: it cannot be read, or is not what it was.
    """
    try:
        return open_rgb(read_picture(picture))
    except UnreadableImageError as error:
        raise UnusablePictureError(f"the picture cannot be read: {error}") from error
