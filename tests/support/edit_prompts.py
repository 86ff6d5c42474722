"""A file of prompts for edits of small images of one colour, with a question each."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

COLOURS = ("red", "green", "blue", "white")


def save_edit_prompts(folder: Path) -> Path:
    """The file, and the images that it names, in an existing folder."""
    lines = []
    for colour in COLOURS:
        Image.new("RGB", (48, 40), colour).save(folder / f"{colour}.png")
        question = {
            "question_type": "semantic",
            "question": f"Is the wall still {colour}?",
            "is_valid": True,
            "tag": "Attribute",
        }
        lines.append(
            json.dumps(
                {
                    "prompt": f"repaint the {colour} wall",
                    "source_image": f"{colour}.png",
                    "semantic_questions": [question],
                    "quality_questions": [],
                }
            )
        )
    (folder / "edits.jsonl").write_text("\n".join(lines))
    return folder / "edits.jsonl"
