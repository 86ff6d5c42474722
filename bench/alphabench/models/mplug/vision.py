"""The vision encoder: CLIP's vision transformer, with the last norm over every token.

Names of modules are those of the released file. Knows no text.

Shapes: B images; I tokens of an image (the class token, then patches); E width;
H heads; K head size; R side in pixels; G patches a side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.mplug.config import MplugVisionConfig


class ClipVisionAttention(nn.Module):
    """Full self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x_BIE: Tensor) -> Tensor:
        joint = functional.linear(x_BIE, self.in_proj_weight, self.in_proj_bias)
        q_BHIK, k_BHIK, v_BHIK = (
            part.reshape(*part.shape[:-1], self.heads, -1).transpose(1, 2)
            for part in joint.chunk(3, dim=-1)
        )
        mixed_BHIK = functional.scaled_dot_product_attention(q_BHIK, k_BHIK, v_BHIK)
        return torch.as_tensor(self.out_proj(mixed_BHIK.transpose(1, 2).flatten(2)))


class ClipVisionMlp(nn.Module):
    """Two linear layers with CLIP's quick form of GELU, `x sigmoid(1.702 x)`, between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x_BIE: Tensor) -> Tensor:
        inner = self.c_fc(x_BIE)
        return torch.as_tensor(self.c_proj(inner * torch.sigmoid(1.702 * inner)))


class ClipVisionLayer(nn.Module):
    """A transformer layer with the norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = ClipVisionAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = ClipVisionMlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x_BIE: Tensor) -> Tensor:
        x_BIE = x_BIE + self.attn(self.ln_1(x_BIE))
        return torch.as_tensor(x_BIE + self.mlp(self.ln_2(x_BIE)))


class ClipVisionTransformer(nn.Module):
    """The stack of layers."""

    def __init__(self, config: MplugVisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            ClipVisionLayer(config.clip_vision_width, config.n_heads)
            for _ in range(config.clip_vision_layers)
        )

    def forward(self, x_BIE: Tensor) -> Tensor:
        for layer in self.resblocks:
            x_BIE = layer(x_BIE)
        return x_BIE


class ClipVisionEncoder(nn.Module):
    """Encodes images of the model's own size."""

    def __init__(self, config: MplugVisionConfig) -> None:
        super().__init__()
        width, patch = config.clip_vision_width, config.clip_vision_patch_size
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(config.n_tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipVisionTransformer(config)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, pixels_B3RR: Tensor) -> Tensor:
        """Normalised pixels to tokens (B, I, E)."""
        patch_BEGG = self.conv1(pixels_B3RR)
        patch_BIE = patch_BEGG.flatten(2).transpose(1, 2)
        first_B1E = self.class_embedding.expand(len(patch_BIE), 1, -1)
        x_BIE = torch.cat([first_B1E, patch_BIE], dim=1) + self.positional_embedding
        return torch.as_tensor(self.ln_post(self.transformer(self.ln_pre(x_BIE))))
