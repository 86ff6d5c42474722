from __future__ import annotations

import pytest

from alphabench.core.public_texts import public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/data/me/BAGEL", "BAGEL"),
        ("/data/of me/BAGEL/", "BAGEL/"),
        ("~/models/sd3", "sd3"),
        ("../prompts/mine.jsonl", "mine.jsonl"),
        (r"C:\Users\me\prompts.txt", "prompts.txt"),
        ("bagel:/data/BAGEL?timesteps=3", "bagel:BAGEL?timesteps=3"),
        ("python:/home/me/reward.py:score", "python:reward.py:score"),
        ("http://10.0.0.1:8000,10.0.0.2:8000/v1#Qwen/Q", "http://HOST#Qwen/Q"),
        ("https://me:key@host/v1?max_tokens=3#Q", "http://HOST?max_tokens=3#Q"),
        (
            "line 1 of '/data/of me/validation.jsonl' is damaged",
            "line 1 of 'validation.jsonl' is damaged",
        ),
        ("ByteDance-Seed/BAGEL-7B-MoT", "ByteDance-Seed/BAGEL-7B-MoT"),
        ("geneval:mini", "geneval:mini"),
        ("small:?count=600&tasks=two_object,colors", "small:?count=600&tasks=two_object,colors"),
        ("alphagrpo20k/train.jsonl", "alphagrpo20k/train.jsonl"),
        ("yes and/or no, 3 / 4", "yes and/or no, 3 / 4"),
    ],
)
def test_names_stay_and_where_they_lie_does_not(text: str, public: str) -> None:
    assert public_text(text) == public
