"""The three language parts: encoder of questions, fusion with a picture, decoder of answers.

Names of modules are those of the released file. Padding to the official 25 tokens is not needed:
what nobody attends to changes nothing.

Shapes: Q questions about one picture; N rows of picture tokens, 1 while all questions share them
and Q once they differ; T tokens of a question; I tokens of a picture; B beams; D width; V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.mplug.attention import Layer, Memory
from alphabench.models.mplug.config import LanguageDesign


class Embeddings(nn.Module):
    """Words, places and the one type of sequence there is."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        width = design.hidden_size
        self.word_embeddings = nn.Embedding(design.vocab_size, width)
        self.position_embeddings = nn.Embedding(design.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(design.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=design.layer_norm_eps)

    def forward(self, token_QT: Tensor, *, first_place: int = 0) -> Tensor:
        last = first_place + token_QT.shape[1]
        place_TD = self.position_embeddings.weight[first_place:last]
        summed_QTD = self.word_embeddings(token_QT) + self.token_type_embeddings.weight[0]
        return torch.as_tensor(self.LayerNorm(summed_QTD + place_TD))


class Stack(nn.Module):
    """Numbered layers; numbers are those of the file, where the first in use may not be 0."""

    def __init__(self, design: LanguageDesign, numbers: range, *, looks_elsewhere: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleDict(
            {str(number): Layer(design, looks_elsewhere=looks_elsewhere) for number in numbers}
        )

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self.layer.values() if isinstance(layer, Layer)]


class QuestionEncoder(nn.Module):
    """BERT's first layers over the words of a question."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.embeddings = Embeddings(design)
        self.encoder = Stack(design, range(design.text_encoder_layers), looks_elsewhere=False)

    def forward(self, token_QT: Tensor, seen_QT: Tensor) -> Tensor:
        x_QTD = self.embeddings(token_QT)
        for layer in self.encoder.layers:
            x_QTD = layer(x_QTD, [layer.attention.memorise(x_QTD, seen_QT)])
        return torch.as_tensor(x_QTD)


class Fused(NamedTuple):
    """What the decoder looks at."""

    picture_NID: Tensor
    question_QTD: Tensor


class Fusion(nn.Module):
    """Words look at patches; at every `stride_layer`-th layer the two attend as one sequence."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        numbers = range(design.fusion_start, design.num_hidden_layers)
        self.encoder = Stack(design, numbers, looks_elsewhere=True)
        self.stride = design.stride_layer

    def forward(self, text_QTD: Tensor, seen_QT: Tensor, picture_1ID: Tensor) -> Fused:
        picture_NID = picture_1ID
        for number, layer in enumerate(self.encoder.layers):
            if number and number % self.stride == 0:
                picture_NID, text_QTD = _joint(layer, text_QTD, seen_QT, picture_NID)
                continue
            own = layer.attention.memorise(text_QTD, seen_QT)
            text_QTD = layer(text_QTD, [own], [layer.crossattention.memorise(picture_NID)])
        return Fused(picture_NID, text_QTD)


def _joint(layer: Layer, text_QTD: Tensor, seen_QT: Tensor, picture_NID: Tensor) -> Fused:
    """One layer over patches and words together; patches keep what they were beside it."""
    n_patches = picture_NID.shape[1]
    picture_QID = picture_NID.expand(len(text_QTD), -1, -1)
    joint_QXD = torch.cat([picture_QID, text_QTD], dim=1)
    seen_QX = torch.cat([seen_QT.new_ones(picture_QID.shape[:2]), seen_QT], dim=1)
    joint_QXD = layer(joint_QXD, [layer.attention.memorise(joint_QXD, seen_QX)])
    return Fused(picture_QID + joint_QXD[:, :n_patches], joint_QXD[:, n_patches:])


class Transform(nn.Module):
    """The layer before the words of an answer."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.dense = nn.Linear(design.hidden_size, design.hidden_size)
        self.LayerNorm = nn.LayerNorm(design.hidden_size, eps=design.layer_norm_eps)

    def forward(self, x_QBD: Tensor) -> Tensor:
        return torch.as_tensor(self.LayerNorm(functional.gelu(self.dense(x_QBD))))


class Predictions(nn.Module):
    """Logits over words; the matrix is the decoder's table of words."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.transform = Transform(design)
        self.bias = nn.Parameter(torch.empty(design.vocab_size))

    def forward(self, x_QBD: Tensor, words_VD: Tensor) -> Tensor:
        return functional.linear(self.transform(x_QBD), words_VD, self.bias)


class WordHead(nn.Module):
    """Holds the predictions under their name in the file."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.predictions = Predictions(design)


class DecoderBody(nn.Module):
    """Embeddings and layers of the decoder."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.embeddings = Embeddings(design)
        self.encoder = Stack(design, range(design.text_decode_layers), looks_elsewhere=True)


class AnswerDecoder(nn.Module):
    """Writes answers word by word, looking at patches and question."""

    def __init__(self, design: LanguageDesign) -> None:
        super().__init__()
        self.bert = DecoderBody(design)
        self.cls = WordHead(design)

    def look_at(self, fused: Fused, seen_QT: Tensor) -> list[list[Memory]]:
        """Each layer's memories of patches and question; computed once for a whole answer."""
        return [
            [
                layer.crossattention.memorise(fused.picture_NID),
                layer.crossattention.memorise(fused.question_QTD, seen_QT),
            ]
            for layer in self.bert.encoder.layers
        ]

    def next_words(
        self,
        token_QB: Tensor,
        written: Sequence[Memory] | None,
        looked_at: Sequence[Sequence[Memory]],
    ) -> tuple[Tensor, list[Memory]]:
        """Logits (Q, B, V) of the word after `token`, and the memories grown by it.

        Args:
            token_QB: the last word of each beam.
            written: each layer's memory of the words before it, a row a beam; None before any.
            looked_at: of `look_at`.
        """
        n_questions, n_beams = token_QB.shape
        place = 0 if written is None else written[0].key_NHSK.shape[2]
        x_RTD = self.bert.embeddings(token_QB.reshape(-1, 1), first_place=place)
        x_QBD = x_RTD.reshape(n_questions, n_beams, -1)
        grown = []
        for number, layer in enumerate(self.bert.encoder.layers):
            row_RTD = x_QBD.reshape(n_questions * n_beams, 1, -1)
            own = layer.attention.memorise(row_RTD)
            if written is not None:
                own = _appended(written[number], own)
            grown.append(own)
            row_RTD = layer.attention(row_RTD, own)
            x_QBD = row_RTD.reshape(n_questions, n_beams, -1)
            x_QBD = layer.crossattention(x_QBD, *looked_at[number])
            x_QBD = layer.output(layer.intermediate(x_QBD), x_QBD)
        words_VD = self.bert.embeddings.word_embeddings.weight
        return self.cls.predictions(x_QBD, words_VD), grown


def _appended(before: Memory, new: Memory) -> Memory:
    return Memory(
        torch.cat([before.key_NHSK, new.key_NHSK], dim=2),
        torch.cat([before.value_NHSK, new.value_NHSK], dim=2),
    )
