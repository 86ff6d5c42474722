from __future__ import annotations

import logging

import pytest

from alphabench.checkpoints.loading import strict_loading
from alphabench.errors import AlphaBenchError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("library", ["transformers.modeling_utils", "diffusers.models"])
def test_a_library_that_fills_tensors_with_chance_is_an_error(library: str) -> None:
    with (
        pytest.raises(AlphaBenchError, match=r"'tiny' lack tensors.*net.weight"),
        strict_loading("tiny"),
    ):
        logging.getLogger(library).warning("Some weights were newly initialized: net.weight")


def test_a_library_told_to_be_silent_is_heard_all_the_same() -> None:
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with pytest.raises(AlphaBenchError, match="lack tensors"), strict_loading("tiny"):
            logging.getLogger("transformers.x").warning("newly initialized: a")
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


def test_other_warnings_and_errors_pass_and_nothing_stays_behind() -> None:
    handlers = [list(logging.getLogger(name).handlers) for name in ("transformers", "diffusers")]
    with strict_loading("tiny"):
        logging.getLogger("diffusers.x").warning("some tensors were not used")
    with pytest.raises(KeyError), strict_loading("tiny"):
        raise KeyError("own")
    now = [list(logging.getLogger(name).handlers) for name in ("transformers", "diffusers")]
    assert now == handlers
