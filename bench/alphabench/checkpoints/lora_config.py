"""The scale of each layer of a LoRA, by PEFT's configuration.

Reads adapter_config.json and the copy that diffusers writes into a file's header. Settings that
change the computation and are not supported are refused by name. Imports neither library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_WITHOUT_EFFECT: Final = frozenset(
    {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
     "inference_mode", "target_modules", "exclude_modules", "lora_dropout", "layers_to_transform",
     "layers_pattern", "megatron_config", "megatron_core", "loftq_config", "eva_config",
     "corda_config", "lora_ga_config", "qalora_group_size", "runtime_config",
     "ensure_weight_tying"}
)  # fmt: skip
"""About training or the base; the tensors show which modules are adapted."""
_INITS: Final = (True, False, None, "gaussian", "orthogonal", "eva", "default")
"""Supported initialisations; others also change the base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Ranks and alphas of a configuration; the defaults are PEFT's."""

    rank: int = 8
    alpha: float = 8.0
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Pattern of module names -> rank."""
    alphas: Mapping[str, float] = field(default_factory=dict)
    by_root: bool = False
    """Rank-stabilised: alpha divided by the square root of the rank."""
    dora: bool = False

    def of(self, module: str, rank: int) -> float:
        """The factor on `up @ down` in one module.

        Raises:
            ValueError: the module's tensors have another rank, or a pattern is invalid.
        """
        stated = _by_pattern(self.ranks, module, self.rank)
        if stated != rank:
            raise ValueError(
                f"its configuration gives {module!r} rank {stated}, its tensors {rank}"
            )
        alpha: float = _by_pattern(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.by_root else rank)


def read_scaling(config: Mapping[str, Any]) -> Scaling:
    """The content of an adapter_config.json.

    Raises:
        ValueError: another kind than LoRA, or settings that are unsupported or no numbers.
    """
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise ValueError(f"its configuration is of the kind {kind!r}, and only LORA is supported")
    init = config.get("init_lora_weights", True)
    if init not in _INITS:
        raise ValueError(
            f"it was initialised with init_lora_weights={init!r}, which also changes the base model"
        )
    known = {"peft_type", "init_lora_weights", "r", "lora_alpha", "rank_pattern", "alpha_pattern",
             "use_rslora", "use_dora", "fan_in_fan_out"}  # fmt: skip
    for key, value in config.items():
        if value and key not in known | _WITHOUT_EFFECT and (key, value) != ("bias", "none"):
            raise ValueError(f"its configuration sets {key!r}, which is not supported")
    return Scaling(
        rank=_integer(config.get("r", 8), "r"),
        alpha=_number(config.get("lora_alpha", 8), "lora_alpha"),
        ranks={k: _integer(v, "rank_pattern") for k, v in _table(config, "rank_pattern").items()},
        alphas={k: _number(v, "alpha_pattern") for k, v in _table(config, "alpha_pattern").items()},
        by_root=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
    )


def _by_pattern(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """As PEFT chooses: the first pattern that fits the end of the name, from a dot on."""
    for pattern, value in patterns.items():
        try:
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return value
        except re.error as error:
            raise ValueError(f"its configuration holds the pattern {pattern!r}: {error}") from error
    return otherwise


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"its configuration has {key}={value!r}, which is no table")
    return value


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"its configuration has {key}={value!r}, which is no number")
    if value == 0:
        raise ValueError(f"its configuration has {key}=0, so that it changes nothing")
    return float(value)


def _integer(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"its configuration has {key}={value!r}, which is no rank")
    return value
