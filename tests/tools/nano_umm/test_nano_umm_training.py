from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.loading import load_bagel
from alphabench.models.bagel.tokenizer import BagelTokens
from tools.nano_umm import autoencoder as autoencoder_training
from tools.nano_umm import pool
from tools.nano_umm.autoencoder import DESIGN
from tools.nano_umm.batches import Kind
from tools.nano_umm.export import export_umm
from tools.nano_umm.language import make_umm_tokenizer
from tools.nano_umm.muon import Muon, orthogonal
from tools.nano_umm.sequences import HeldOut, SequenceWriter
from tools.nano_umm.train import (
    MINIS,
    Phase,
    TrainingScale,
    held_out,
    phase_at,
    tokenizer,
    train_umm,
    umm_rate_at,
)

SIZES: dict[Kind, int] = {"draw": 2, "tell": 1, "think": 1, "ask": 1, "mend": 2, "see": 2}
PHASES = (
    Phase(steps=2, peak_rate=1e-3, sizes=SIZES, answer_weight=0.4),
    Phase(steps=1, peak_rate=1e-3, sizes={**SIZES, "ask": 2}, answer_weight=1.0),
)
TINY = TrainingScale(scenes=6, changes=4, phases=PHASES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with an untrained autoencoder and the tokenizer."""
    work = tmp_path_factory.mktemp("work")
    torch.manual_seed(0)
    untrained = Autoencoder(DESIGN)
    tensors = untrained.network.state_dict()
    stored = {untrained.stored_name(name): tensor.half() for name, tensor in tensors.items()}
    save_file(stored, work / "ae.safetensors")
    statistics = json.dumps({"scale_factor": 1.0, "shift_factor": 0.0})
    (work / "autoencoder.json").write_text(statistics)
    make_umm_tokenizer(work / "tokenizer", MINIS, count=200)
    return work


def test_a_training_that_was_stopped_ends_with_the_same_weights(prepared: Path) -> None:
    uninterrupted = train_umm(prepared, scale=TINY).state_dict()
    (prepared / "umm.pt").unlink()
    train_umm(prepared, stop=2, scale=TINY)
    resumed = train_umm(prepared, scale=TINY).state_dict()
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)

    out = prepared / "folder"
    assert export_umm(prepared, out) == 3
    assert sum(path.stat().st_size for path in out.iterdir()) <= 16e6
    loaded = load_bagel(out, dtype=torch.float32)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.allclose(tensor, resumed[name], atol=1e-3)


def test_an_autoencoder_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "pictures.npy", rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    uninterrupted = autoencoder_training.train_autoencoder(
        tmp_path, steps=2, stop=2
    ).network.state_dict()
    (tmp_path / "autoencoder.pt").unlink()
    autoencoder_training.train_autoencoder(tmp_path, steps=2, stop=1)
    resumed = autoencoder_training.train_autoencoder(tmp_path, steps=2, stop=2)
    for name, tensor in resumed.network.state_dict().items():
        assert torch.equal(tensor, uninterrupted[name])
    autoencoder_training.export_autoencoder(resumed, tmp_path)
    assert set(load_file(tmp_path / "ae.safetensors")) == {
        resumed.stored_name(name) for name in uninterrupted
    }


def test_the_rate_of_each_phase_rises_stays_and_falls_to_zero() -> None:
    phases = (
        Phase(steps=900, peak_rate=2e-3, sizes=SIZES, answer_weight=0.4),
        Phase(steps=300, peak_rate=1e-3, sizes=SIZES, answer_weight=1.0),
    )
    positions = [phase_at(step, phases) for step in range(1200)]
    rates = [umm_rate_at(offset, phase) for phase, offset in positions]
    assert rates[0] < rates[49] == max(rates) == 2e-3
    assert rates[599] == 2e-3
    assert 0 < rates[899] < 0.01 * 2e-3
    assert rates[899] < rates[900] < rates[949] == max(rates[900:]) == 1e-3
    assert phase_at(900, phases)[0].answer_weight == 1.0
    with pytest.raises(ValueError, match="after the last phase"):
        phase_at(1200, phases)


def test_no_prompt_and_no_demand_of_the_mini_splits_is_trained_on(prepared: Path) -> None:
    tokens: BagelTokens = tokenizer(prepared)
    unseen = held_out()
    assert len(unseen.texts) > 100
    assert len(unseen.demands) >= 40
    writer = SequenceWriter(tokens, unseen)
    for number in range(300):
        rng = np.random.default_rng(number)
        assert writer.prompt(pool.scene(number), rng) not in unseen.texts


def test_only_text_of_the_model_is_scored(prepared: Path) -> None:
    tokens = tokenizer(prepared)
    writer = SequenceWriter(tokens, HeldOut(texts=(), demands=()))
    blocks = writer.think(pool.scene(3), np.random.default_rng(0))
    scored_ids = [token for token, scored in zip(blocks.ids, blocks.scored, strict=True) if scored]
    text = tokens.tokenizer.decode(scored_ids)
    assert text.startswith("<think>")
    assert text.endswith("</think><|im_end|>")
    assert scored_ids.count(tokens.end) == 1


def test_a_muon_step_of_a_kernel_is_that_of_its_matrix() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 4, 3, 3))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel.grad = torch.randn_like(kernel)
    matrix.grad = kernel.grad.flatten(1).clone()
    for weight in (kernel, matrix):
        Muon([weight], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)


@pytest.mark.parametrize("shape", [(8, 8), (4, 20), (20, 4)])
def test_an_orthogonalised_matrix_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3
