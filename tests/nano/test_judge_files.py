"""The packaged judge is right about scenes that its training never saw, as its card says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alphabench.judges import open_judge
from tools.nano_judge.measure import asked


def test_it_is_right_about_the_small_world_and_sure_of_it(tmp_path: Path) -> None:
    known = [one for one in asked(14, tmp_path) if one.group == "yes/no, small"]
    judge = open_judge("nano", options={"handshake": "off"})
    answers = list(judge.ask(one.question for one in known))
    assert len(known) > 140
    assert all(answer.values is not None for answer in answers)
    p_yes = np.array([answer.values[0] for answer in answers if answer.values is not None])
    truth = np.array([one.truth > 0.5 for one in known])
    assert np.mean((p_yes > 0.5) == truth) >= 0.95
    assert p_yes[truth].mean() > 0.9
    assert p_yes[~truth].mean() < 0.1
