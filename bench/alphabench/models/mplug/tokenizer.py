"""Tokenises questions and decodes answers with the released BERT vocabulary.

As the official preprocessor: lower case, at most 25 tokens with [CLS] and [SEP]; longer questions
are cut. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.models.mplug.beam_search import END, START

VOCABULARY_FILE: Final = "vocab.txt"
MOST_TOKENS: Final = 25
_FIXED: Final = {START: "[CLS]", END: "[SEP]"}


class Tokens(NamedTuple):
    """A batch of questions."""

    token_QT: Tensor
    seen_QT: Tensor
    """False for padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugTokenizer:
    """Wraps transformers' BertTokenizer."""

    tokenizer: Any

    def encode(self, questions: Sequence[str]) -> Tokens:
        """Token ids, padded to the longest question."""
        encoded = self.tokenizer(
            [question.lower() for question in questions],
            padding="longest",
            truncation=True,
            max_length=MOST_TOKENS,
            return_tensors="pt",
        )
        token_QT: Tensor = encoded["input_ids"]
        return Tokens(token_QT, encoded["attention_mask"].bool())

    def decode(self, token_QT: Tensor) -> list[str]:
        """Answers as text, without special tokens."""
        return [
            self.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=True)
            for row in token_QT.tolist()
        ]

    def is_cut(self, question: str) -> bool:
        """Whether the question is longer than the model reads."""
        return len(self.tokenizer(question.lower())["input_ids"]) > MOST_TOKENS


def load_tokenizer(folder: Path, *, vocab_size: int) -> MplugTokenizer:
    """The vocabulary in `folder`.

    Raises:
        AlphaBenchError: the file is missing, or belongs to another model.
    """
    from transformers import BertTokenizer

    path = folder / VOCABULARY_FILE
    hint = f"give the folder as it was released, with {VOCABULARY_FILE}"
    try:
        lines = read_text(path).removesuffix("\n").split("\n")
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(path)!r} cannot be read: {error}", hint=hint) from error
    number_of = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    if len(lines) > vocab_size or any(number_of.get(mark) != at for at, mark in _FIXED.items()):
        raise AlphaBenchError(f"{str(path)!r} is not the vocabulary of this model", hint=hint)
    return MplugTokenizer(tokenizer=BertTokenizer(vocab=number_of, do_lower_case=True))
