from __future__ import annotations

from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.sizes import check_sizes

HEADER = {"a.weight": {"dtype": "F32", "shape": [3072, 768]}, "__metadata__": {"format": "pt"}}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"num_layers": 10**12}, "num_layers"),
        ({"depths": [2, 2, 10**6]}, "depths"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"text_config": {"hidden_size": 10**6}}, "hidden_size"),
        ({"joint_attention_dim": 10**8}, "joint_attention_dim"),
        ({"sample_size": 10**9}, "sample_size"),
        ({"sample_size": [128, 10**9]}, "sample_size"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ({"block_out_channels": [-(10**9)]}, "block_out_channels"),
    ],
)
def test_a_size_that_no_weights_bear_out_is_refused(config: dict[str, Any], field: str) -> None:
    with pytest.raises(AlphaBenchError, match=f"x.json of 'here' has {field}=-?10+,"):
        check_sizes(config, [HEADER], file="x.json", name="here")


def test_the_sizes_of_published_models_pass() -> None:
    check_sizes(
        {
            "num_hidden_layers": 61, "hidden_size": 3072, "intermediate_size": 3072 * 4,
            "vocab_size": 262_144, "max_position_embeddings": 10_485_760, "rope_theta": 10**9,
            "image_token_id": 151_655, "sample_size": 1024, "num_train_timesteps": 1000,
            "max_window_layers": 70, "eos_token_id": [1, 10**9], "use_cache": True,
        },
        [HEADER],
        file="config.json",
        name="here",
    )  # fmt: skip
    check_sizes({"num_train_timesteps": 1000}, [], file="scheduler_config.json", name="here")


def test_the_sample_of_a_denoiser_is_in_latents() -> None:
    check_sizes({"sample_size": 1024}, [HEADER], file="vae/config.json", name="here")
    with pytest.raises(AlphaBenchError, match="sample_size=1024"):
        check_sizes({"sample_size": 1024}, [HEADER], file="unet/config.json", name="here")
