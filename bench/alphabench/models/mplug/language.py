"""The three language parts: question encoder, fusion with an image, answer decoder.

Names of modules are those of the released file. Padding to the official 25 tokens is not needed:
tokens without attention change nothing.

Shapes: Q questions about one image; N rows of image tokens, 1 while all questions share them and Q
once they differ; T tokens of a question; I tokens of an image; B beams; D width; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.mplug.attention import Memory, MplugLayer
from alphabench.models.mplug.config import MplugTextConfig


class Embeddings(nn.Module):
    """Token, position and type embeddings; there is one type."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, token_QT: Tensor, *, first_position: int = 0) -> Tensor:
        last = first_position + token_QT.shape[1]
        position_TD = self.position_embeddings.weight[first_position:last]
        summed_QTD = self.word_embeddings(token_QT) + self.token_type_embeddings.weight[0]
        return torch.as_tensor(self.LayerNorm(summed_QTD + position_TD))


class Stack(nn.Module):
    """Numbered layers; numbers are those of the file, where the first used one may not be 0."""

    def __init__(self, config: MplugTextConfig, numbers: range, *, cross_attention: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleDict(
            {str(number): MplugLayer(config, cross_attention=cross_attention) for number in numbers}
        )

    @property
    def layers(self) -> list[MplugLayer]:
        return [layer for layer in self.layer.values() if isinstance(layer, MplugLayer)]


class QuestionEncoder(nn.Module):
    """BERT's first layers over the tokens of a question."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Stack(config, range(config.text_encoder_layers), cross_attention=False)

    def forward(self, token_QT: Tensor, seen_QT: Tensor) -> Tensor:
        x_QTD = self.embeddings(token_QT)
        for layer in self.encoder.layers:
            x_QTD = layer(x_QTD, [layer.attention.memorise(x_QTD, seen_QT)])
        return torch.as_tensor(x_QTD)


class Fused(NamedTuple):
    """What the decoder attends to."""

    image_NID: Tensor
    question_QTD: Tensor


class Fusion(nn.Module):
    """Text attends to patches; at every `stride_layer`-th layer the two attend as one sequence."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        numbers = range(config.fusion_start, config.num_hidden_layers)
        self.encoder = Stack(config, numbers, cross_attention=True)
        self.stride = config.stride_layer

    def forward(self, text_QTD: Tensor, seen_QT: Tensor, image_1ID: Tensor) -> Fused:
        image_NID = image_1ID
        for number, layer in enumerate(self.encoder.layers):
            if number and number % self.stride == 0:
                image_NID, text_QTD = _joint(layer, text_QTD, seen_QT, image_NID)
                continue
            own = layer.attention.memorise(text_QTD, seen_QT)
            text_QTD = layer(text_QTD, [own], [layer.crossattention.memorise(image_NID)])
        return Fused(image_NID, text_QTD)


def _joint(layer: MplugLayer, text_QTD: Tensor, seen_QT: Tensor, image_NID: Tensor) -> Fused:
    """One layer over patches and text together; patches have a residual connection around it."""
    n_patches = image_NID.shape[1]
    image_QID = image_NID.expand(len(text_QTD), -1, -1)
    joint_QXD = torch.cat([image_QID, text_QTD], dim=1)
    seen_QX = torch.cat([seen_QT.new_ones(image_QID.shape[:2]), seen_QT], dim=1)
    joint_QXD = layer(joint_QXD, [layer.attention.memorise(joint_QXD, seen_QX)])
    return Fused(image_QID + joint_QXD[:, :n_patches], joint_QXD[:, n_patches:])


class Transform(nn.Module):
    """The layer before the vocabulary projection."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x_QBD: Tensor) -> Tensor:
        return torch.as_tensor(self.LayerNorm(functional.gelu(self.dense(x_QBD))))


class Predictions(nn.Module):
    """Logits over the vocabulary; the matrix is tied to the decoder's embeddings."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.bias = nn.Parameter(torch.empty(config.vocab_size))

    def forward(self, x_QBD: Tensor, embedding_VD: Tensor) -> Tensor:
        return functional.linear(self.transform(x_QBD), embedding_VD, self.bias)


class WordHead(nn.Module):
    """Holds the predictions under their name in the file."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class DecoderBody(nn.Module):
    """Embeddings and layers of the decoder."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Stack(config, range(config.text_decode_layers), cross_attention=True)


class AnswerDecoder(nn.Module):
    """Generates answers token by token, with cross-attention to patches and question."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.bert = DecoderBody(config)
        self.cls = WordHead(config)

    def cross_memories(self, fused: Fused, seen_QT: Tensor) -> list[list[Memory]]:
        """Each layer's memories of patches and question; computed once per answer."""
        return [
            [
                layer.crossattention.memorise(fused.image_NID),
                layer.crossattention.memorise(fused.question_QTD, seen_QT),
            ]
            for layer in self.bert.encoder.layers
        ]

    def next_logits(
        self,
        token_QB: Tensor,
        past: Sequence[Memory] | None,
        cross_memories: Sequence[Sequence[Memory]],
    ) -> tuple[Tensor, list[Memory]]:
        """Logits (Q, B, V) of the token after `token_QB`, and the memories with it appended.

        Args:
            token_QB: the last token of each beam.
            past: each layer's memory of the tokens before it, a row per beam; None at the start.
            cross_memories: of `cross_memories`.
        """
        n_questions, n_beams = token_QB.shape
        position = 0 if past is None else past[0].key_NHSK.shape[2]
        x_RTD = self.bert.embeddings(token_QB.reshape(-1, 1), first_position=position)
        x_QBD = x_RTD.reshape(n_questions, n_beams, -1)
        grown = []
        for number, layer in enumerate(self.bert.encoder.layers):
            row_RTD = x_QBD.reshape(n_questions * n_beams, 1, -1)
            own = layer.attention.memorise(row_RTD)
            if past is not None:
                own = _appended(past[number], own)
            grown.append(own)
            row_RTD = layer.attention(row_RTD, own)
            x_QBD = row_RTD.reshape(n_questions, n_beams, -1)
            x_QBD = layer.crossattention(x_QBD, *cross_memories[number])
            x_QBD = layer.output(layer.intermediate(x_QBD), x_QBD)
        embedding_VD = self.bert.embeddings.word_embeddings.weight
        return self.cls.predictions(x_QBD, embedding_VD), grown


def _appended(before: Memory, new: Memory) -> Memory:
    return Memory(
        torch.cat([before.key_NHSK, new.key_NHSK], dim=2),
        torch.cat([before.value_NHSK, new.value_NHSK], dim=2),
    )
