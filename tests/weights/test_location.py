"""Where a pipeline's files are, and what its card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.interfaces import Licensed
from tests.support import tiny_pipelines


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# A model\n", "apache-2.0"),
        ("---\ntags: [a]\n---\nlicense: not in the header\n", "unknown"),
        ("# no header\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_what_the_model_card_states(
    tmp_path: Path, card: str | None, licence: str
) -> None:
    tiny_pipelines.save("sana", tmp_path / "model")
    (tmp_path / "model" / "README.md").unlink(missing_ok=True)
    if card is not None:
        (tmp_path / "model" / "README.md").write_text(card)
    checkpoint = open_checkpoint(str(tmp_path / "model"))
    assert isinstance(checkpoint, Licensed)
    assert list(checkpoint.licences.values()) == [licence]
