"""`alphabench calibrate`: measures a judge on rendered scenes, or rewards by it on images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from alphabench.cli.command_options import Budget, Devices, Json, NoCache, Seed
from alphabench.cli.completion import complete_judge
from alphabench.cli.help_pages import JUDGING, OUTPUT, SET_UP, WHAT, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.core.writing import replace_file, writing
from alphabench.runs import factories

if TYPE_CHECKING:
    from alphabench.questions import Judge
    from alphabench.reports.reward_calibration import RewardCalibration

MeasuredJudge = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="JUDGE",
        help="The judge to measure; as in `run`.",
        autocompletion=complete_judge,
        rich_help_panel=JUDGING,
    ),
]
RewardNames = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REWARD",
        help="Compare rewards by this judge instead, on images of runs: dvreward, "
        "'dvreward?semantic_weight=1' or holistic; repeatable.",
        rich_help_panel=JUDGING,
    ),
]
Truth = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --reward: what is true, an evaluation of the runs or a .csv or .jsonl file with "
        "image and truth. Left out: the runs' only evaluation, or none.",
        rich_help_panel=JUDGING,
    ),
]
Repeats = Annotated[
    int,
    typer.Option(
        min=1,
        max=100,
        metavar="N",
        help="With --reward: how often each reward is asked for.",
        rich_help_panel=JUDGING,
    ),
]
GroupSize = Annotated[
    int,
    typer.Option(
        min=2,
        metavar="N",
        help="With --reward: group size that would do without noise.",
        rich_help_panel=JUDGING,
    ),
]
RunFolders = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RUN",
        help="With --reward: a run folder with several images for a prompt; repeatable, for runs "
        "with other seeds.",
        rich_help_panel=WHAT,
    ),
]
Scenes = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Number of rendered scenes to ask about.", rich_help_panel=WHAT
    ),
]
Size = Annotated[
    int,
    typer.Option(
        min=32,
        max=512,
        metavar="PIXELS",
        help="Side length of the scenes, from 32 to 512.",
        rich_help_panel=WHAT,
    ),
]
CalibrationFolder = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="Output folder for scenes and tables.", rich_help_panel=OUTPUT
    ),
]
_OF_SCENES: Final = ("scenes", "size", "seed")
"""Options of a calibration on scenes."""
_OF_REWARDS: Final = ("run", "truth", "repeats", "group")
"""Options of a calibration of rewards."""


@command_page(
    SET_UP,
    "alphabench calibrate --judge nano",
    "alphabench calibrate --judge 'http://localhost:8000/v1#my-vlm' --scenes 200",
    "alphabench calibrate --judge nano --reward dvreward --run runs/x",
)
def calibrate_command(
    context: typer.Context,
    judge: MeasuredJudge,
    reward: RewardNames = None,
    truth: Truth = None,
    repeats: Repeats = 3,
    group: GroupSize = 12,
    run: RunFolders = None,
    scenes: Scenes = 100,
    size: Size = 256,
    seed: Seed = 0,
    out: CalibrationFolder = Path("calibration"),
    budget: Budget = None,
    no_cache: NoCache = False,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Measure a judge on rendered scenes with known answers, or rewards by it on images of runs."""
    _refuse_mixed(context, rewards=bool(reward))
    factories.check_writable(out)
    opened = _opened_judge(judge, budget=budget, no_cache=no_cache, devices=devices)
    if reward:
        from alphabench.reports.reward_calibration_page import rewards_markdown

        rewards = _compared_rewards(
            opened, reward, run or [], truth=truth, repeats=repeats, reference=group
        )
        written = {"rewards.md": rewards_markdown(rewards), "rewards.json": rewards.to_json()}
    else:
        from alphabench.reports.judge_calibration import calibrate_judge as measure
        from alphabench.reports.judge_calibration import calibration_markdown

        found = measure(opened, n_scenes=scenes, seed=seed, size=size, folder=out / "scenes")
        written = {
            "calibration.md": calibration_markdown(found),
            "calibration.json": found.to_json(),
        }
    table, content = written.values()
    _write_tables(out, written)
    echo(json.dumps(content) if as_json else str(table))


def _opened_judge(spec: str, *, budget: float | None, no_cache: bool, devices: str | None) -> Judge:
    from alphabench.runs.workers import choose_devices

    device = choose_devices(devices, workers=1)[0]
    opened = factories.open_named_judge(spec, budget=budget, no_cache=no_cache, device=device)
    assert opened is not None
    return opened


def _compared_rewards(
    judge: Judge,
    rewards: Sequence[str],
    runs: Sequence[Path],
    *,
    truth: str | None,
    repeats: int,
    reference: int,
) -> RewardCalibration:
    from alphabench.reports.reward_calibration import calibrate_rewards, score_reward
    from alphabench.reports.reward_images import read_reward_images

    if repeated := [name for name in rewards if rewards.count(name) > 1]:
        raise AlphaBenchError(f"--reward names {repeated[0]!r} twice", hint="name each reward once")
    for name in rewards:
        factories.open_judge_reward(name, judge)  # refuse all names before the first question
    images = read_reward_images(runs, truth=truth)
    scores = [
        score_reward(name, judge, images, open_reward=factories.open_judge_reward, repeats=repeats)
        for name in rewards
    ]
    return calibrate_rewards(scores, images, judge.identity, reference=reference)


def _refuse_mixed(context: typer.Context, *, rewards: bool) -> None:
    """Options of one measurement say nothing about the other."""
    for name in _OF_SCENES if rewards else _OF_REWARDS:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise AlphaBenchError(
                f"--{name} has no effect {'with' if rewards else 'without'} --reward",
                hint="leave it out, or see `alphabench calibrate --help`",
            )
    if rewards and not context.params.get("run"):
        raise AlphaBenchError(
            "--reward compares rewards on images, and no run is named",
            hint="generate some: `alphabench run geneval:mini --ckpt CKPT --out runs/x`, then "
            "--run runs/x",
        )


def _write_tables(out: Path, written: Mapping[str, object]) -> None:
    with writing(out, elsewhere="name another folder with --out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in written.items():
            text = content if isinstance(content, str) else json.dumps(content)
            replace_file(out / name, text)
