"""The SigLIP-style encoder for images of any size: patches of all images packed together.

No pooling head; each image attends to itself alone. Names of modules are those of the released
checkpoint. Knows no decoder and reads no file.

Shapes: T patches of all images, packed; B images; N patches of the largest; E encoder width;
H heads; K head size; C features of a patch (row in patch, column in patch, channel).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.bagel.config import BagelVisionConfig
from alphabench.models.bagel.packed_sequences import Ragged


class VisionAttention(nn.Module):
    """Full attention inside each image."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.heads = config.num_attention_heads

    def forward(self, x_TE: Tensor, patches: Ragged, sees_B1NN: Tensor) -> Tensor:
        q_BHNK, k_BHNK, v_BHNK = (
            patches.pad(project(x_TE).reshape(len(x_TE), self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed_BHNK = functional.scaled_dot_product_attention(
            q_BHNK, k_BHNK, v_BHNK, attn_mask=sees_B1NN
        )
        mixed_TE = patches.unpad(mixed_BHNK.transpose(1, 2)).flatten(1)
        return torch.as_tensor(self.out_proj(mixed_TE))


class VisionMlp(nn.Module):
    """Two linear layers with the tanh form of GELU between them."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x_TE: Tensor) -> Tensor:
        inner = functional.gelu(self.fc1(x_TE), approximate="tanh")
        return torch.as_tensor(self.fc2(inner))


class VisionLayer(nn.Module):
    """A transformer layer with the norms in front."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VisionMlp(config)

    def forward(self, x_TE: Tensor, patches: Ragged, sees_B1NN: Tensor) -> Tensor:
        x_TE = x_TE + self.self_attn(self.layer_norm1(x_TE), patches, sees_B1NN)
        return torch.as_tensor(x_TE + self.mlp(self.layer_norm2(x_TE)))


class PatchEmbeddings(nn.Module):
    """A linear layer over patches, and a learned table of positions."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(config.patch_features, config.hidden_size)
        self.position_embedding = nn.Embedding(config.table_side**2, config.hidden_size)

    def forward(self, patches_TC: Tensor, indices_T: Tensor) -> Tensor:
        embedded_TE = self.patch_embedding(patches_TC) + self.position_embedding(indices_T)
        return torch.as_tensor(embedded_TE)


class VisionStack(nn.Module):
    """The layers, under the checkpoint's name for them."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))


class VisionTransformer(nn.Module):
    """Patches in, one vector a patch out."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config)
        self.encoder = VisionStack(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, patches_TC: Tensor, indices_T: Tensor, patches: Ragged) -> Tensor:
        valid_BN = patches.valid()
        # The outputs of padding are computed from real patches and never read.
        sees_B1NN = valid_BN[:, None, None, :].expand(-1, -1, patches.longest, -1)
        x_TE = self.embeddings(patches_TC, indices_T)
        for layer in self.encoder.layers:
            x_TE = layer(x_TE, patches, sees_B1NN)
        return torch.as_tensor(self.post_layernorm(x_TE))


class VisionModel(nn.Module):
    """The level of names between the model and its encoder."""

    def __init__(self, config: BagelVisionConfig) -> None:
        super().__init__()
        self.vision_model = VisionTransformer(config)
