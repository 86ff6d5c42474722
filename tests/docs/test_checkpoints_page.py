"""The tables of docs/checkpoints.md list what the code accepts: options, defaults, families."""

from __future__ import annotations

import dataclasses
import re

import pytest

from alphabench.checkpoints.presets import PRESETS, PipelinePreset
from tests.support.command_checks import OPTIONS
from tests.support.page_commands import ROOT

PAGE = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
NOT_ON_PAGE = {"nano": "bagel"}
"""A kind with the options of another."""


def table(mark: str) -> list[list[str]]:
    """The cells of the table after `<!-- mark -->`, without its head."""
    rows = PAGE.split(f"<!-- {mark} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def shown(default: object) -> str:
    if default is None:
        return "—"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("kind", sorted(OPTIONS.keys() - NOT_ON_PAGE))
def test_the_page_lists_exactly_the_options_that_a_kind_takes(kind: str) -> None:
    fields = dataclasses.fields(OPTIONS[kind])
    wanted = [(f"`{field.name}`", shown(field.default)) for field in fields]
    assert [(row[0], row[1]) for row in table(f"options: {kind}")] == wanted


def negative_prompt(preset: PipelinePreset) -> str:
    if not preset.takes_negative_prompt:
        return "not taken"
    if preset.negative_prompt_in_card:
        return "of the model card"
    return {None: "none", " ": "one space"}[preset.negative_prompt]


def test_the_page_lists_the_published_settings_of_every_family() -> None:
    wanted = [
        [f"`{one.family}`", str(one.steps), f"{one.guidance:g}", one.dtype, negative_prompt(one)]
        for one in PRESETS
    ]
    rows = table("families")
    assert [[row[0], row[1], row[2], row[4], row[5]] for row in rows] == wanted
    sizes = {row[0]: row[3] for row in rows}
    for one in PRESETS:
        size = f"{one.width} x {one.height}" if one.width else "of the "
        assert sizes[f"`{one.family}`"].startswith(size)
