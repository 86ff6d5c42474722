"""Room for weights: what they need by their headers, what is free, and the refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.memory import GIB, check_memory, free_bytes, safetensors_among, stored_bytes


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    tensors = {"half": torch.zeros(10, 3, dtype=torch.bfloat16), "full": torch.zeros(7)}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def test_weights_need_what_their_numbers_take_once_loaded(weights: Path) -> None:
    assert stored_bytes([weights], width=None, name="x") == 30 * 2 + 7 * 4
    assert stored_bytes([weights], width=2, name="x") == 37 * 2
    assert stored_bytes([weights, weights], width=4, name="x") == 2 * 37 * 4


def test_this_machine_has_some_memory_free() -> None:
    free = free_bytes("cpu")
    assert free is None or 2**20 < free < 2**50
    assert free_bytes("mps") is None


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    check_memory(GIB, GIB, name="x", device="cpu")
    check_memory(GIB, None, name="x", device="cpu")
    with pytest.raises(AlphaBenchError, match=r"'x' need 2\.0 GiB, and cpu has 1\.5 GiB free"):
        check_memory(2 * GIB, 3 * GIB // 2, name="x", device="cpu")


def test_only_safetensors_count_as_weights() -> None:
    found = safetensors_among(Path("folder"), ["a.safetensors", "config.json"])
    assert found == {"a.safetensors": Path("folder/a.safetensors")}
