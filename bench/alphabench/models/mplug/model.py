"""mPLUG for questions about pictures: the parts together, and how they answer.

A picture is encoded once and its tokens are handed to all its questions. Knows neither files nor
text: pixels, token ids in; token ids out.

Shapes: B pictures; Q questions about one picture; T tokens; I picture tokens; E width of the
picture encoder; D width of the language side; V words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alphabench.models.mplug.attention import Memory
from alphabench.models.mplug.beam_search import START, search
from alphabench.models.mplug.config import Design
from alphabench.models.mplug.language import AnswerDecoder, Fusion, QuestionEncoder
from alphabench.models.mplug.vision import PictureEncoder


class VisualSide(nn.Module):
    """Holds the encoder under its name in the file."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.visual = PictureEncoder(design.picture)


class Mplug(nn.Module):
    """The whole model; in evaluation there is no dropout, so there is none here."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        width, wanted = design.picture.clip_vision_width, design.language.hidden_size
        self.visual_encoder = VisualSide(design)
        if width != wanted:
            self.visn_fc = nn.Linear(width, wanted)
            self.visn_layer_norm = nn.LayerNorm(wanted, eps=1e-12)
        self.text_encoder = QuestionEncoder(design.language)
        self.fusion_encoder = Fusion(design.language)
        self.text_decoder = AnswerDecoder(design.language)

    @torch.inference_mode()
    def look(self, pixels_B3RR: Tensor) -> Tensor:
        """Tokens of pictures, (B, I, D)."""
        token_BIE = self.visual_encoder.visual(pixels_B3RR)
        if hasattr(self, "visn_fc"):
            return torch.as_tensor(self.visn_layer_norm(self.visn_fc(token_BIE)))
        return torch.as_tensor(token_BIE)

    @torch.inference_mode()
    def answer(self, picture_ID: Tensor, token_QT: Tensor, seen_QT: Tensor) -> Tensor:
        """Answers to questions about one picture, (Q, max_length + 1); see `search`.

        Args:
            picture_ID: one row of `look`.
            token_QT: the questions' token ids.
            seen_QT: False for padding.
        """
        looked_at = self._read(picture_ID, token_QT, seen_QT)
        written: list[Memory] | None = None

        def next_words(last_QB: Tensor, parent_QB: Tensor | None) -> Tensor:
            nonlocal written
            if written is not None and parent_QB is not None:
                written = _continued(written, parent_QB)
            logits_QBV, written = self.text_decoder.next_words(last_QB, written, looked_at)
            return logits_QBV

        return search(
            next_words,
            self.design.search,
            n_questions=len(token_QT),
            device=str(token_QT.device),
        )

    @torch.inference_mode()
    def logits(
        self, picture_ID: Tensor, token_QT: Tensor, seen_QT: Tensor, answer_QT: Tensor
    ) -> Tensor:
        """Logits (Q, T + 1, V) of every next word of given answers, START before them."""
        looked_at = self._read(picture_ID, token_QT, seen_QT)
        start_Q1 = torch.full((len(answer_QT), 1), START, device=answer_QT.device)
        written: list[Memory] | None = None
        found = []
        for last_Q1 in torch.split(torch.cat([start_Q1, answer_QT], dim=1), 1, dim=1):
            logits_Q1V, written = self.text_decoder.next_words(last_Q1, written, looked_at)
            found.append(logits_Q1V)
        return torch.cat(found, dim=1)

    def _read(self, picture_ID: Tensor, token_QT: Tensor, seen_QT: Tensor) -> list[list[Memory]]:
        """What the decoder looks at, layer by layer."""
        text_QTD = self.text_encoder(token_QT, seen_QT)
        fused = self.fusion_encoder(text_QTD, seen_QT, picture_ID[None])
        return self.text_decoder.look_at(fused, seen_QT)


def _continued(written: list[Memory], parent_QB: Tensor) -> list[Memory]:
    """The memories of the beams that go on, a row a beam."""
    n_questions, n_beams = parent_QB.shape
    first_Q1 = torch.arange(n_questions, device=parent_QB.device)[:, None] * n_beams
    row_R = (first_Q1 + parent_QB).flatten()
    return [Memory(one.key_NHSK[row_R], one.value_NHSK[row_R]) for one in written]
