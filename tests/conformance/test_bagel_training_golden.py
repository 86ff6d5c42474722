"""BAGEL's losses and gradients on one pack of samples, against the reference's training pass.

Shapes: T tokens of all samples, packed; D width; L latent tokens; C features of a latent token; B
samples; N tokens of the longest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from alphabench.models.bagel.autoencoder import to_tokens
from alphabench.models.bagel.kv_cache import Block, make_block
from alphabench.models.bagel.loading import LoadedBagel, load_bagel
from alphabench.models.bagel.model import Bagel, Grid
from alphabench.models.bagel.packed_sequences import ragged

VIT_GRIDS = {30: Grid(5, 6), 25: Grid(5, 5)}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "bagel"


@pytest.fixture
def loaded(folder: Path) -> LoadedBagel:
    return load_bagel(folder / "ckpt")


@pytest.fixture(scope="module")
def pack(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "cases" / "case8_train.safetensors")


@pytest.fixture(scope="module")
def words(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cases" / "case8_train.json").read_text())
    return found


def the_block(pack: dict[str, Tensor], words: dict[str, Any]) -> Block:
    lengths = words["sample_lens"]
    tokens = ragged(lengths, torch.device("cpu"))
    sees_BNN = torch.stack(
        [
            functional.pad(pack[f"in.attn_allowed{row}"], (0, max(lengths) - n) * 2)
            for row, n in enumerate(lengths)
        ]
    )
    generation_T = torch.zeros(sum(lengths), dtype=torch.bool)
    generation_T[pack["in.packed_vae_token_indexes"]] = True
    return make_block(
        tokens,
        positions_T=pack["in.packed_position_ids"],
        generation_T=generation_T,
        sees_BNN=sees_BNN.bool(),
        positions_after=[0] * len(lengths),
    )


def clean_latents(pack: dict[str, Tensor], words: dict[str, Any]) -> Tensor:
    """[L, C]: what lies inside each picture of the padded batch."""
    pictures = zip(pack["in.padded_latent"], words["patchified_vae_latent_shapes"], strict=True)
    return torch.cat([to_tokens(z[:, : 2 * rows, : 2 * cols], 2) for z, (rows, cols) in pictures])


def losses(
    model: Bagel, pack: dict[str, Tensor], words: dict[str, Any], shift: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each labelled token, and squared errors [L, C] of noised tokens."""
    block = the_block(pack, words)
    data_LC, noise_LC = clean_latents(pack, words), pack["in.noise"]
    t_L = pack["in.packed_timesteps"].sigmoid()
    t_L = shift * t_L / (1 + (shift - 1) * t_L)
    x_LC = (1 - t_L[:, None]) * data_LC + t_L[:, None] * noise_LC
    grids = [VIT_GRIDS[int(count)] for count in pack["in.vit_token_seqlens"]]
    places = {
        "in.packed_text_indexes": model.language_model.model.embed_tokens(
            pack["in.packed_text_ids"]
        ),
        "in.packed_vit_token_indexes": model.embed_patches(pack["in.packed_vit_tokens"], grids),
        "in.packed_vae_token_indexes": model.embed_latents(
            x_LC, t_L, pack["in.packed_latent_position_ids"]
        ),
    }
    x_TD = torch.zeros(words["sequence_length"], model.config.language.hidden_size)
    for name, embedded in places.items():
        x_TD = x_TD.index_put((pack[name],), embedded)
    empty = model.new_context(len(words["sample_lens"]))
    hidden_TD = model.language_model.model(x_TD, block, empty).hidden_TD
    logits = model.logits(hidden_TD[pack["in.ce_loss_indexes"]])
    entropy = functional.cross_entropy(logits, pack["in.packed_label_ids"], reduction="none")
    target_LC = (noise_LC - data_LC)[t_L > 0]
    predicted_LC = model.llm2vae(hidden_TD[pack["in.mse_loss_indexes"]])
    return entropy, (predicted_LC - target_LC).square()


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=2e-5)


def test_a_padded_batch_of_pictures_is_encoded_as_in_the_reference(
    loaded: LoadedBagel, pack: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        found = loaded.autoencoder.encode(pack["in.padded_images"], pack["in.vae_eps"])
    close(found, pack["in.padded_latent"])


@pytest.mark.parametrize("shift", [1, 3])
def test_losses_of_a_pack_of_samples_are_the_references(
    loaded: LoadedBagel, pack: dict[str, Tensor], words: dict[str, Any], shift: int
) -> None:
    with torch.no_grad():
        entropy, errors_LC = losses(loaded.model, pack, words, float(shift))
    close(entropy, pack[f"out.shift{shift}.ce"])
    close(errors_LC, pack[f"out.shift{shift}.mse"])
    close(errors_LC.mean(dim=1), pack[f"out.shift{shift}.mse_per_token"])
    wanted = words[f"loss_shift{shift}"]
    assert entropy.mean().item() == pytest.approx(wanted["ce"], rel=2e-5)
    assert errors_LC.mean().item() == pytest.approx(wanted["mse"], rel=2e-5)


def test_gradients_of_a_pack_of_samples_are_the_references(
    loaded: LoadedBagel, pack: dict[str, Tensor], words: dict[str, Any]
) -> None:
    entropy, errors_LC = losses(loaded.model, pack, words, 1.0)
    (entropy.mean() + errors_LC.mean()).backward()  # type: ignore[no-untyped-call]
    found = {
        name: weight.grad
        for name, weight in loaded.model.named_parameters()
        if weight.grad is not None
    }
    prefix = "out.shift1.grad."
    whole = [key for key in pack if key.startswith(prefix)]
    assert len(whole) == 10
    for key in whole:
        close(found[key.removeprefix(prefix)], pack[key])
    assert found.keys() == words["grad_norms"].keys()
    for name, norm in words["grad_norms"].items():
        if name.startswith("vit_model") and name.endswith("k_proj.bias"):
            # Truly zero: a constant added to all keys moves no attention; only rounding is left.
            assert found[name].norm().item() < 1e-6
        else:
            assert found[name].norm().item() == pytest.approx(norm, rel=1e-3), name
