from __future__ import annotations

from typing import Any

import pytest

from alphabench.checkpoints.lora_config import read_scaling


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 2, "lora_alpha": 8, "bias": "none", "task_type": "X"}, 4.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"r": 8, "lora_alpha": 8, "rank_pattern": {"to_q": 2}}, 4.0),
        ({"r": 2, "lora_alpha": 1, "alpha_pattern": {r"^blocks\.\d+\.to_q": 6}}, 3.0),
        ({"r": 2, "lora_alpha": 1, "alpha_pattern": {"q": 6}}, 0.5),
    ],
)
def test_the_scale_follows_pefts_rules(config: dict[str, Any], scale: float) -> None:
    rank = 4 if config["r"] == 4 else 2
    assert read_scaling(config).of("blocks.0.to_q", rank) == scale


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "LOKR"}, "kind 'LOKR'"),
        ({"init_lora_weights": "pissa"}, "also changes the base model"),
        ({"use_qalora": True}, "sets 'use_qalora'"),
        ({"modules_to_save": ["head"]}, "sets 'modules_to_save'"),
        ({"bias": "all"}, "sets 'bias'"),
        ({"target_parameters": ["experts.w"]}, "sets 'target_parameters'"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
        ({"lora_alpha": "16"}, "lora_alpha='16'"),
        ({"lora_alpha": 0}, "changes nothing"),
        ({"r": 0}, "r=0"),
        ({"r": 2.5}, "r=2.5"),
        ({"rank_pattern": [1]}, "is no table"),
        ({"alpha_pattern": {"a": True}}, "no number"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(
    config: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        read_scaling(config)


def test_a_rank_that_is_not_that_of_the_tensors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gives 'a\.b' rank 1000000000, its tensors 2"):
        read_scaling({"r": 10**9}).of("a.b", 2)
    with pytest.raises(ValueError, match="holds the pattern"):
        read_scaling({"rank_pattern": {"(": 2}}).of("a.b", 2)
