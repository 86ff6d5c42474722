"""The tokenizer of a checkpoint and its four control tokens; adds no text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transformers import Qwen2Tokenizer

from alphabench.core.errors import AlphaBenchError

START, END = "<|im_start|>", "<|im_end|>"
START_OF_IMAGE, END_OF_IMAGE = "<|vision_start|>", "<|vision_end|>"
CONTROL: Final = (START, END, START_OF_IMAGE, END_OF_IMAGE)
FILES: Final = ("tokenizer_config.json", "vocab.json", "merges.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelTokens:
    """Text to ids and back."""

    tokenizer: Any
    start: int
    end: int
    start_of_image: int
    end_of_image: int

    def encode(self, text: str) -> list[int]:
        """The ids of `text` alone."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def block(self, text: str) -> list[int]:
        """What the model reads for one piece of text: start, its ids, end."""
        return [self.start, *self.encode(text), self.end]

    def answer(self, ids: list[int]) -> str:
        """The text of decoded `ids`, whose first is the start token that was fed.

        What follows an end token or another start token is dropped.
        """
        assert ids[0] == self.start, "decoding begins with the start token"
        text = self.tokenizer.decode(ids[1:], skip_special_tokens=False)
        return str(text).partition(END)[0].partition(START)[0]


def load_bagel_tokens(folder: Path, *, vocabulary: int) -> BagelTokens:
    """The tokenizer in `folder`, for a model with `vocabulary` rows of embeddings.

    Raises:
        AlphaBenchError: a file is missing or unreadable, a control token is not one token, or
            there are more tokens than embeddings.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise AlphaBenchError(
                f"the checkpoint {folder.name!r} has no file {name!r}",
                hint="fetch the complete checkpoint again",
            )
    try:
        tokenizer: Any = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AlphaBenchError(
            f"the tokenizer in {folder.name!r} cannot be read: {error}",
            hint="fetch its files again",
        ) from error
    if len(tokenizer) > vocabulary:
        raise AlphaBenchError(
            f"the tokenizer in {folder.name!r} has {len(tokenizer)} tokens, "
            f"the model {vocabulary} embeddings",
            hint="use the tokenizer that came with the weights",
        )
    ids = [tokenizer.encode(token, add_special_tokens=False) for token in CONTROL]
    for token, encoded in zip(CONTROL, ids, strict=True):
        if len(encoded) != 1:
            raise AlphaBenchError(
                f"the tokenizer in {folder.name!r} has no token {token!r}",
                hint="use the tokenizer that came with the weights",
            )
    start, end, start_of_image, end_of_image = (encoded[0] for encoded in ids)
    return BagelTokens(
        tokenizer=tokenizer,
        start=start,
        end=end,
        start_of_image=start_of_image,
        end_of_image=end_of_image,
    )
