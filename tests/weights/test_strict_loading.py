from __future__ import annotations

import logging

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.strict_loading import strict_loading, unexpected_tensors

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("library", ["transformers.modeling_utils", "diffusers.models"])
def test_a_library_that_fills_tensors_with_chance_is_an_error(library: str) -> None:
    with (
        pytest.raises(AlphaBenchError, match=r"'tiny' are incomplete.*net.weight"),
        strict_loading("tiny"),
    ):
        logging.getLogger(library).warning("Some weights were newly initialized: net.weight")


@pytest.mark.parametrize(
    "message",
    [
        "Some weights of the model checkpoint at x were not used when initializing Net: \n"
        " ['net.{0}, position_ids']",
        "Net LOAD REPORT from: x\nKey | Status | \n----+--\nposition_ids | UNEXPECTED | \n"
        "net.{0}   | \x1b[38;5;208mUNEXPECTED\x1b[0m |  \n\nNotes:\n- UNEXPECTED:\tcan be ignored",
    ],
)
@pytest.mark.parametrize(
    ("tensor", "hint"),
    [
        ("a.weight_scale", "scaled 8-bit"),
        ("scaled_fp8", "scaled 8-bit"),
        ("a.weight.absmax", "bitsandbytes"),
        ("a.qweight", "GPTQ"),
        ("a.lora_A.weight", "merge it"),
        ("layers.9.weight", "belong to these weights"),
    ],
)
def test_a_library_that_passes_over_tensors_is_an_error(
    message: str, tensor: str, hint: str
) -> None:
    with (
        pytest.raises(AlphaBenchError, match=f"does not use, such as 'net.{tensor}'") as caught,
        strict_loading("tiny"),
    ):
        logging.getLogger("diffusers.x").warning(message.format(tensor))
    assert hint in (caught.value.hint or "")


def test_tensors_that_change_nothing_may_be_left_over() -> None:
    names = ["text_model.embeddings.position_ids", "lm_head.weight", "a.b.inv_freq", "a.weight"]
    assert unexpected_tensors(names) == ["a.weight"]


def test_warnings_of_a_silenced_library_are_still_collected() -> None:
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with pytest.raises(AlphaBenchError, match="are incomplete"), strict_loading("tiny"):
            logging.getLogger("transformers.x").warning("newly initialized: a")
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


def test_other_warnings_and_errors_pass_and_loggers_are_restored() -> None:
    handlers = [list(logging.getLogger(name).handlers) for name in ("transformers", "diffusers")]
    with strict_loading("tiny"):
        logging.getLogger("diffusers.x").warning("this argument is deprecated")
    with pytest.raises(KeyError), strict_loading("tiny"):
        raise KeyError("own")
    now = [list(logging.getLogger(name).handlers) for name in ("transformers", "diffusers")]
    assert now == handlers
