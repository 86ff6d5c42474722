"""The whole mPLUG model: pixels and token ids in, token ids out.

An image is encoded once; all its questions share its tokens. Knows neither files nor text.

Shapes: B images; Q questions about one image; T tokens; I image tokens; E width of the vision
encoder; D width of the language part; V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alphabench.models.mplug.attention import Memory
from alphabench.models.mplug.beam_search import START, search
from alphabench.models.mplug.config import MplugConfig
from alphabench.models.mplug.language import AnswerDecoder, Fusion, QuestionEncoder
from alphabench.models.mplug.vision import ClipVisionEncoder


class VisualSide(nn.Module):
    """Holds the encoder under its name in the file."""

    def __init__(self, config: MplugConfig) -> None:
        super().__init__()
        self.visual = ClipVisionEncoder(config.vision)


class Mplug(nn.Module):
    """The whole model, for inference only: it has no dropout."""

    def __init__(self, config: MplugConfig) -> None:
        super().__init__()
        self.config = config
        width, wanted = config.vision.clip_vision_width, config.text.hidden_size
        self.visual_encoder = VisualSide(config)
        if width != wanted:
            self.visn_fc = nn.Linear(width, wanted)
            self.visn_layer_norm = nn.LayerNorm(wanted, eps=1e-12)
        self.text_encoder = QuestionEncoder(config.text)
        self.fusion_encoder = Fusion(config.text)
        self.text_decoder = AnswerDecoder(config.text)

    @torch.inference_mode()
    def encode_image(self, pixels_B3RR: Tensor) -> Tensor:
        """Image tokens, (B, I, D)."""
        token_BIE = self.visual_encoder.visual(pixels_B3RR)
        if hasattr(self, "visn_fc"):
            return torch.as_tensor(self.visn_layer_norm(self.visn_fc(token_BIE)))
        return torch.as_tensor(token_BIE)

    @torch.inference_mode()
    def answer(self, image_ID: Tensor, token_QT: Tensor, seen_QT: Tensor) -> Tensor:
        """Answers to questions about one image, (Q, max_length + 1); see `search`.

        Args:
            image_ID: one row of `encode_image`.
            token_QT: the questions' token ids.
            seen_QT: False for padding.
        """
        cross_memories = self._read(image_ID, token_QT, seen_QT)
        past: list[Memory] | None = None

        def next_logits(last_QB: Tensor, parent_QB: Tensor | None) -> Tensor:
            nonlocal past
            if past is not None and parent_QB is not None:
                past = _continued(past, parent_QB)
            logits_QBV, past = self.text_decoder.next_logits(last_QB, past, cross_memories)
            return logits_QBV

        return search(
            next_logits,
            self.config.search,
            n_questions=len(token_QT),
            device=str(token_QT.device),
        )

    @torch.inference_mode()
    def logits(
        self, image_ID: Tensor, token_QT: Tensor, seen_QT: Tensor, answer_QT: Tensor
    ) -> Tensor:
        """Logits (Q, T + 1, V) after START and after every token of given answers."""
        cross_memories = self._read(image_ID, token_QT, seen_QT)
        start_Q1 = torch.full((len(answer_QT), 1), START, device=answer_QT.device)
        past: list[Memory] | None = None
        logits = []
        for last_Q1 in torch.split(torch.cat([start_Q1, answer_QT], dim=1), 1, dim=1):
            logits_Q1V, past = self.text_decoder.next_logits(last_Q1, past, cross_memories)
            logits.append(logits_Q1V)
        return torch.cat(logits, dim=1)

    def _read(self, image_ID: Tensor, token_QT: Tensor, seen_QT: Tensor) -> list[list[Memory]]:
        """The decoder's cross-attention memories, layer by layer."""
        text_QTD = self.text_encoder(token_QT, seen_QT)
        fused = self.fusion_encoder(text_QTD, seen_QT, image_ID[None])
        return self.text_decoder.cross_memories(fused, seen_QT)


def _continued(past: list[Memory], parent_QB: Tensor) -> list[Memory]:
    """The memories of the continued beams, a row per beam."""
    n_questions, n_beams = parent_QB.shape
    first_Q1 = torch.arange(n_questions, device=parent_QB.device)[:, None] * n_beams
    row_R = (first_Q1 + parent_QB).flatten()
    return [Memory(one.key_NHSK[row_R], one.value_NHSK[row_R]) for one in past]
