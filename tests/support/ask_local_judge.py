"""Asks a judge in the process of another interpreter, and writes down what it said.

`python ask_local_judge.py KIND MODEL PICTURES ANSWERS OPTION=VALUE...`: the questions are those of
`tiny_vlms.yes_no_questions`, then one in words at a temperature, twice, then one that cannot be
asked between two that can.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alphabench.core.options import pairs
from alphabench.judges import open_judge
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, Question
from tests.support.tiny_vlms import pictures_in, yes_no_questions


def questions_about(folder: Path) -> dict[str, list[Question]]:
    """The streams, by what they are for."""
    pictures = pictures_in(folder)
    plain = yes_no_question(
        "Is there a word?", pictures[:1], image_id="0/0", question_id="0", answer_format=YesNoText()
    )
    hot = replace(plain, sampling=replace(plain.sampling, temperature=1.5, max_tokens=6))
    return {
        "p_yes": yes_no_questions(pictures),
        "swapped": [
            replace(one, parts=(*shown, one.parts[1]))
            for one in yes_no_questions(pictures[:1])
            for shown in (pictures[:2], pictures[1::-1])
        ],
        "words": [plain],
        "drawn": [replace(hot, repeat=n) for n in range(8)],
        "drawn again": [replace(hot, repeat=n) for n in range(8)],
        "faulty": [plain, replace(plain, parts=(pictures[0], "word " * 5000)), plain],
    }


def as_json(answer: Answer) -> dict[str, object]:
    """An answer without its question."""
    return {
        "status": answer.status,
        "values": answer.values,
        "reason": answer.reason,
        "text": answer.reply.text if answer.reply else None,
        "first_token": answer.reply.first_token if answer.reply else (),
        "tokens_in": answer.reply.tokens_in if answer.reply else 0,
    }


def main(arguments: Sequence[str]) -> None:
    kind, model, pictures, target, *options = arguments
    judge = open_judge(f"{kind}:{model}", options=pairs(options))
    said: dict[str, object] = {
        name: [as_json(answer) for answer in judge.ask(stream)]
        for name, stream in questions_about(Path(pictures)).items()
    }
    said["identity"] = dict(judge.identity)
    Path(target).write_text(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
