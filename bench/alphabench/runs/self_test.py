"""Checks before the first image: the evaluator's self-test, and that a hosted model is served.

Any failure becomes one user-facing error. Knows no evaluator and no host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alphabench.core.errors import AlphaBenchError, from_os_error
from alphabench.interfaces import CanBeRetired

if TYPE_CHECKING:
    from alphabench.interfaces import Evaluator, Generator


def require_served(generator: Generator) -> None:
    """Refuse a hosted checkpoint that has ended, before a judge is asked anything for it.

    Raises:
        AlphaBenchError: its host has switched it off.
    """
    if isinstance(generator, CanBeRetired):
        generator.check_retirement()


def require_self_test(evaluator: Evaluator) -> None:
    """Run the self-test.

    Raises:
        AlphaBenchError: an answer is wrong, or the models cannot be computed here at all.
    """
    try:
        evaluator.self_test()
    except AlphaBenchError:
        raise
    except OSError as error:
        raise from_os_error(error) from error
    except Exception as error:
        # A broken build raises anything, from a missing kernel to too little memory.
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise AlphaBenchError(
            f"the self-test could not run: {type(error).__name__}: {reason[0]}",
            hint="this build must not score: use another build of torch, or another device: "
            "--devices cpu",
        ) from error
