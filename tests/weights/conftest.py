"""Requests for images, as the tests of checkpoints make them."""

from tests.checkpoints.conftest import ask

__all__ = ["ask"]
