"""mPLUG, DPG-Bench's official VQA model, in plain PyTorch: a bare question in, a short answer out.

Takes the folder that ModelScope released (or `alphabench fetch mplug` brought) and answers as its
pipeline does; an image is encoded once for all consecutive questions about it. The rest of the
harness sees a judge; the benchmark decides which answers count. Needs neither modelscope nor
fairseq.
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
from alphabench.evaluators.mplug.mplug_self_test import run_mplug_self_test
from alphabench.evaluators.mplug.released_files import FILES, mplug_folder
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.judges.data_uris import UnusableImageError, read_image_part
from alphabench.judges.in_process import answers_in_batches
from alphabench.judges.openai.chat_api import LastingError
from alphabench.questions import Answer, Capabilities, ImagePart, Question, Reply
from alphabench.weights.digest import digest_files
from alphabench.weights.find import WeightsNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from alphabench.models.mplug.loading import LoadedMplug

NAME: Final = "mplug"
_READ_AHEAD: Final = 64
"""Questions."""
_QUESTIONS_PER_PASS: Final = 8
"""About one image."""
_IMAGES_PER_PASS: Final = 4
"""Of the vision encoder."""
_CACHED_IMAGES: Final = 8
"""Encoded images in memory, 4 MB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugOptions:
    """Options of `mplug?key=value`."""

    weights: Path | None = None
    """Folder of the released model; None takes what `alphabench fetch mplug` brought."""
    self_test: bool = True
    """Check the build, and questions with known answers about bundled images, before scoring."""


class MplugQuery(NamedTuple):
    """A question about a decoded image."""

    sha256: str
    image: Image
    text: str


class MplugJudge:
    """Answers questions about one image each. Picklable until the first use of its weights.

    Args:
        options: see `MplugOptions`.
        device: of torch.
        cache_dir: where fetched weights lie.
    """

    def __init__(self, options: MplugOptions, *, device: str, cache_dir: Path) -> None:
        self.options = options
        self.device = device
        self.folder = _existing_folder(options, cache_dir)
        self._encoded: OrderedDict[str, Tensor] = OrderedDict()
        self._decoded: tuple[str, Image] | None = None

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
        """See `Judge.ask`; a question is one image and one text."""
        return answers_in_batches(questions, self._prepare, self._reply, size=_READ_AHEAD)

    def shake_hands(self, needs: Capabilities) -> None:
        """See `mplug_self_test.run_self_test`; does nothing under `self_test=off`."""
        del needs
        if self.options.self_test:
            run_mplug_self_test(self.answers, device=self.device)

    def answers(self, queries: Sequence[tuple[Image, str]]) -> list[str]:
        """The model's answer to each (image, question), in order."""
        ready = [
            MplugQuery(hashlib.sha256(image.tobytes()).hexdigest(), image, text)
            for image, text in queries
        ]
        return [reply.text for reply in self._reply(ready)]

    def _prepare(self, question: Question) -> MplugQuery:
        images = [part for part in question.parts if isinstance(part, ImagePart)]
        texts = [part for part in question.parts if isinstance(part, str)]
        if len(images) != 1 or len(texts) != 1 or question.system:
            raise LastingError("mPLUG takes one image and one question, and nothing else")
        (image,) = images
        if self._decoded is None or self._decoded[0] != image.sha256:
            self._decoded = (image.sha256, _read(image))
        return MplugQuery(image.sha256, self._decoded[1], texts[0])

    def _reply(self, queries: Sequence[MplugQuery]) -> list[Reply]:
        """Replies in order; questions about one image are answered together."""
        self._encode(queries)
        by_image: dict[str, list[int]] = {}
        for index, query in enumerate(queries):
            by_image.setdefault(query.sha256, []).append(index)
        replies: dict[int, Reply] = {}
        for sha256, indices in by_image.items():
            for first in range(0, len(indices), _QUESTIONS_PER_PASS):
                batch = indices[first : first + _QUESTIONS_PER_PASS]
                texts = [queries[index].text for index in batch]
                replies |= zip(batch, self._answer(sha256, texts), strict=True)
        while len(self._encoded) > _CACHED_IMAGES:
            self._encoded.popitem(last=False)
        return [replies[index] for index in range(len(queries))]

    def _encode(self, queries: Sequence[MplugQuery]) -> None:
        """Encodes images that are not cached."""
        from alphabench.device_transfer import sent
        from alphabench.models.mplug.image_processing import pixels_of

        model = self._loaded.model
        new = {one.sha256: one.image for one in queries if one.sha256 not in self._encoded}
        names = list(new)
        for first in range(0, len(names), _IMAGES_PER_PASS):
            batch = names[first : first + _IMAGES_PER_PASS]
            pixels_B3RR = pixels_of(
                [new[name] for name in batch], side=model.config.vision.image_res
            )
            image_BID = model.encode_image(sent(pixels_B3RR, self.device))
            self._encoded.update(zip(batch, image_BID, strict=True))

    def _answer(self, sha256: str, texts: Sequence[str]) -> list[Reply]:
        from alphabench.device_transfer import sent

        loaded = self._loaded
        token_QT, seen_QT = loaded.tokenizer.encode(texts)
        answer_QT = loaded.model.answer(
            self._encoded[sha256], sent(token_QT, self.device), sent(seen_QT, self.device)
        )
        self._encoded.move_to_end(sha256)
        n_read = seen_QT.sum(dim=1).tolist()
        return [
            Reply(text=text, model=NAME, tokens_in=n_in, tokens_out=len(text.split()))
            for text, n_in in zip(loaded.tokenizer.decode(answer_QT), n_read, strict=True)
        ]

    @cached_property
    def _digest(self) -> str:
        return digest_files(self.folder, [self.folder / name for name in FILES])

    @cached_property
    def _loaded(self) -> LoadedMplug:
        from alphabench.models.mplug.loading import load_mplug

        return load_mplug(self.folder, device=self.device)


def open_mplug(options: Mapping[str, str], *, device: str, cache_dir: Path) -> MplugJudge:
    """The mPLUG judge; nothing is loaded yet.

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
    folder = mplug_folder(cache_dir) if options.weights is None else options.weights.expanduser()
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent and options.weights is None:
        raise WeightsNotFoundError(
            "mPLUG's weights are not on this machine",
            hint="run `alphabench fetch mplug`, or give mplug?weights=FOLDER",
        )
    if absent:
        raise AlphaBenchError(
            f"the folder {str(folder)!r} has no {absent[0]!r}",
            hint=f"give the folder as ModelScope released it, with {', '.join(FILES)}",
        )
    return folder.absolute()


def _read(part: ImagePart) -> Image:
    """The image as RGB.

    Raises:
        UnusableImageError: it cannot be read, or has changed.
    """
    try:
        return open_rgb(read_image_part(part))
    except UnreadableImageError as error:
        raise UnusableImageError(f"the image cannot be read: {error}") from error
