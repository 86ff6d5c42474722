"""The settings of a recipe file, section by section; read strictly by `alphatrainers.strict_yaml`.

Every field is described under it, once. The section `training` belongs to the engine. Knows no
model and opens nothing.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from alphabench.benchmarks.mini_split import TEST_SPLIT, is_test_split
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.core.options import option_text
from alphabench.core.yaml_parsing import Tree, parse_yaml
from alphagrpo.hub_prompts import HUB, is_commit
from alphagrpo.recipe_names import RECIPE_FILE, recipe_names
from alphagrpo.rectification import Rectification
from alphagrpo.rewards.reward_kinds import RewardSettings
from alphagrpo.tasks import ImageStep, Schedule, Window
from alphatrainers import strict_yaml
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.algorithms.sde_steps import Density, StepKind, usual_density
from alphatrainers.image_algorithms import (
    IMAGE_ALGORITHMS,
    NOT_TRAINED,
    TOKEN_ALGORITHMS,
    ImageLossSettings,
)
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import GenerateImage, GenerateImageTokens, GenerateText

TaskKind = Literal["t2i", "rt2i", "edit", "srr", "mixed"]
_PACKAGE: Final = "alphagrpo"
_MOST_BYTES: Final = 2**20
"""Of a recipe file."""
_MOST_POINTS: Final = 1001
"""Noise levels: no model is trained on a finer schedule."""
_MOST_TOKENS: Final = 2**20
_LARGEST_SIDE: Final = 2**14
"""Pixels."""
USUAL_SHIFT: Final = 3.0
"""Of a policy without a schedule of its own: BAGEL's."""
_FOR_THE_END: Final = (
    "the test split is for the end, after every choice is made; train without it, validate on "
    f"geneval:mini, then measure once with `alphabench run {TEST_SPLIT} --lora RUN/best`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeNotes:
    """Notes for readers; recipes in this package have both."""

    costs: str = "not stated"
    """Resources that a training needs."""
    gpus: int | None = None
    """Least number of GPUs of 80 GB that hold it, by the estimates of `--dry-run`; 0 where a CPU
    is meant."""
    measured: str = "not stated"
    """Measured results, or that there are none."""

    def __post_init__(self) -> None:
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"gpus={self.gpus}: a number of GPUs is 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What is trained."""

    checkpoint: str
    """As `--ckpt` takes it: nano, a BAGEL or Janus folder or hub id, a diffusers pipeline."""
    options: Mapping[str, object] = field(default_factory=dict)
    """As `--set` takes them. They also decide how validations generate."""

    def texts(self) -> dict[str, str]:
        """The options as they are typed after `--set`."""
        return {key: option_text(value) for key, value in self.options.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceSettings:
    """Guidance while a trajectory is generated and, for stored steps, while it is replayed."""

    text_scale: float = 4.0
    image_scale: float = 1.0
    """Scale of the branch without the source image; 1 or less switches it off."""
    low: float = 0.4
    """Guidance is active at noise levels above this one."""
    high: float = 1.0
    renorm: Literal["global", "channel", "text_channel"] = "global"
    renorm_floor: float = 0.0
    """Least factor of the renormalisation; 1 switches it off."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.renorm_floor <= 1.0:
            raise ValueError(f"renorm_floor lies in [0, 1], not at {self.renorm_floor}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSamplingSettings:
    """How the tokens of an image are sampled, and scored when they are trained."""

    temperature: float = 1.0
    guidance: float = 5.0
    """Scale of classifier-free guidance on logits; 1 is none."""

    def __post_init__(self) -> None:
        self.spec(width=1, height=1)

    def spec(self, *, width: int, height: int) -> GenerateImageTokens:
        """The step of a program; pixels."""
        return GenerateImageTokens(
            width=width, height=height, temperature=self.temperature, guidance=self.guidance
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSamplingSettings:
    """How images are sampled in training."""

    points: int | None = None
    """Noise levels; there is one step fewer. Needed for images that are denoised."""
    tokens: TokenSamplingSettings | None = None
    """Needed for a model that samples images token by token; no other key but width and height has
    a meaning then."""
    width: int | None = None
    """Pixels; null takes the checkpoint's own."""
    height: int | None = None
    shift: float | None = None
    """null takes the schedule that the policy's own pipeline samples with, or 3.0 where the policy
    has none (nano, BAGEL)."""
    window: Window = field(default_factory=Window)
    kernel: StepKind = "flow_sde"
    eta: float = 0.7
    density: Density | None = None
    """Log-probability of a stochastic step; null takes the kernel's usual one."""
    guidance: GuidanceSettings | None = None
    """null samples without guidance."""

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are given together or not at all")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and not 1 <= side <= _LARGEST_SIDE:
                raise ValueError(f"{name}={side}: a side has 1 to {_LARGEST_SIDE} pixels")
        if (self.points is None) == (self.tokens is None):
            raise ValueError(
                "points is needed, or tokens for a model that samples images token by token; "
                "not both"
            )
        if self.points is None:
            if self.guidance is not None:
                raise ValueError("the guidance of an image of tokens is tokens.guidance")
            return
        if not 2 <= self.points <= _MOST_POINTS:
            raise ValueError(f"points={self.points}: a schedule has 2 to {_MOST_POINTS} points")
        # Checked now, for every window of a run, by making a program of it.
        n_steps = self.points - 1
        try:
            window = self.window.at(0, n_steps=n_steps, seed=0)
        except ValueError as error:
            raise ValueError(
                f"window={self.window.described} does not fit the {n_steps} steps that "
                f"points={self.points} makes: {error}"
            ) from error
        spec = self.spec(None, size=(1, 1))
        assert isinstance(spec, GenerateImage)
        replace(spec, window=window)

    @property
    def n_steps(self) -> int:
        """Denoising steps; none for an image of tokens."""
        return 0 if self.points is None else self.points - 1

    def sigmas(self) -> tuple[float, ...]:
        """Noise levels by the shift alone; none for an image of tokens."""
        if self.points is None:
            return ()
        shift = USUAL_SHIFT if self.shift is None else self.shift
        return sigmas_of_points(self.points, shift=shift)

    def spec(
        self, guidance: object, *, size: tuple[int, int], schedule: Schedule | None = None
    ) -> ImageStep:
        """The step of a program, without its window.

        Args:
            guidance: as the policy takes it.
            size: the checkpoint's default; pixels.
            schedule: its own, taken where the recipe names no shift.
        """
        width, height = self.width or size[0], self.height or size[1]
        if self.tokens is not None:
            return self.tokens.spec(width=width, height=height)
        if schedule is None or self.shift is not None:
            sigmas = self.sigmas()
        else:
            sigmas = schedule(self.n_steps, width, height)
        return GenerateImage(
            width=width,
            height=height,
            sigmas=sigmas,
            kernel=self.kernel,
            eta=self.eta,
            density=self.density,
            guidance=guidance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtSettings:
    """How thoughts are sampled in training."""

    max_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    trained: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= _MOST_TOKENS:
            raise ValueError(f"max_tokens={self.max_tokens}: from 1 to {_MOST_TOKENS}")
        self.spec()

    def spec(self) -> GenerateText:
        """The step of a program."""
        return GenerateText(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            trained=self.trained,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineSettings:
    """Settings of task srr."""

    initial: ImageSamplingSettings
    """How initial images are generated, without a thought; its window only matters if trained."""
    initial_images: int = 7
    choose: Literal["worst", "sampled"] = "worst"
    rectify: Rectification = "init"
    train_initial: bool = False

    def __post_init__(self) -> None:
        if self.initial_images < 1:
            raise ValueError(f"initial_images={self.initial_images}: at least one is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What is generated for a prompt; see `alphagrpo.tasks`."""

    kind: TaskKind
    draw: ImageSamplingSettings
    thought: ThoughtSettings = field(default_factory=ThoughtSettings)
    """Of rt2i and srr, and of edit if it thinks."""
    think: bool = True
    """Whether edits begin with a thought."""
    refine: RefineSettings | None = None
    """srr needs it."""
    mixed: Mapping[str, float] = field(default_factory=dict)
    """Weights by kind, for mixed."""
    mixed_by: Literal["step", "group"] = "step"
    """Whether all groups of a step have one task, or each group one of its own."""

    def __post_init__(self) -> None:
        kinds = set(self.mixed) if self.kind == "mixed" else {self.kind}
        if self.kind == "mixed" and not kinds:
            raise ValueError("mixed needs weights, e.g. mixed: {rt2i: 1, srr: 1}")
        weights = self.mixed.values()
        if weights and (min(weights) < 0.0 or max(weights) == 0.0):
            raise ValueError("mixed takes weights of 0 or more, at least one of them above 0")
        if unknown := kinds - {"t2i", "rt2i", "edit", "srr"}:
            raise ValueError(f"mixed knows no {sorted(unknown)}")
        if "srr" in kinds and self.refine is None:
            raise ValueError("srr needs the section `refine`")

    @property
    def kinds(self) -> list[str]:
        """The single tasks that it is made of."""
        return list(self.mixed) if self.kind == "mixed" else [self.kind]

    @property
    def trained_images(self) -> dict[str, ImageSamplingSettings]:
        """Settings of the images that are trained, by the name of their section."""
        found = {"task.draw": self.draw}
        if "srr" in self.kinds and self.refine is not None and self.refine.train_initial:
            found["task.refine.initial"] = self.refine.initial
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """Where prompts come from; see `alphagrpo.prompts`."""

    source: str
    """FILE.jsonl, .parquet or .txt, hub:OWNER/NAME[:SPLIT], small:?count=N, or a benchmark."""
    column: str | None = None
    """Column or key of the prompt in a table, a `.jsonl` file or a data set; null is `prompt`."""
    revision: str | None = None
    """Commit of a data set of the hub; null is the newest when the training begins."""
    questions: Path | None = None
    """A question file for prompts that have no questions of their own."""
    limit: int | None = None
    """Only the first so many."""

    def __post_init__(self) -> None:
        _at_least_one(self.limit)
        if self.revision is not None:
            if not self.source.startswith(HUB):
                raise ValueError(f"revision={self.revision}: the source {self.source} has none")
            if not is_commit(self.revision):
                raise ValueError(
                    f"revision={self.revision} is no commit, which has 40 hexadecimal digits; "
                    "a branch or a tag could change between two runs"
                )
        if is_test_split(self.source):
            raise ValueError(f"source={self.source}: {_FOR_THE_END}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """One validation; see `alphagrpo.validation`. The first one decides which weights are best."""

    benchmark: str
    evaluator: str | None = None
    """null takes what suits benchmark and checkpoint."""
    judge: str | None = None
    protocol: Literal["official", "strict"] = "official"
    limit: int | None = None
    """Only so many samples, from all groups."""
    seed: int = 0
    same_as_reward: bool = False
    """Allow it to be measured by the very evaluator that rewards."""
    refine: Literal["always"] | None = None
    """always: every image is refined once, and the refined one is scored, as with `--refine`."""
    refine_from: Literal["start"] | None = None
    """start: all points refine the images that the weights before training generated."""

    def __post_init__(self) -> None:
        _at_least_one(self.limit)
        if self.refine_from is not None and self.refine is None:
            raise ValueError("refine_from needs refine: always")
        if is_test_split(self.benchmark):
            raise ValueError(f"benchmark={self.benchmark}: {_FOR_THE_END}")

    @property
    def name(self) -> str:
        """Of its curve."""
        if self.refine is None:
            return self.benchmark
        given = "" if self.refine_from is None else f" from the {self.refine_from}"
        return f"{self.benchmark}, refined {self.refine}{given}"

    @property
    def one_pass(self) -> str:
        """The curve of the same images without refinement."""
        return self.benchmark


def _at_least_one(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: at least 1, or null for all")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """A training."""

    policy: PolicySettings
    task: TaskSettings
    rewards: Mapping[str, RewardSettings]
    prompts: PromptSettings
    training: TrainingSettings
    about: RecipeNotes = field(default_factory=RecipeNotes)
    validation: tuple[ValidationSettings, ...] = ()
    panel: int = 9
    """Images generated at every validation for visual inspection."""

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ValueError("rewards is empty: there is nothing to learn from")
        if self.panel < 0:
            raise ValueError(f"panel={self.panel}: a number of images is 0 or more")
        if self.task.mixed_by == "group" and self.training.parallel == "shard":
            raise ValueError(
                "task.mixed_by=group gives devices different programs, and training.parallel=shard "
                "needs the same ones on all: take mixed_by=step or parallel=replicate"
            )
        for section, draw in self.task.trained_images.items():
            _refuse_untrainable(draw, self.training.image, section)
        curves = [one.name for one in self.validation]
        if twice := [name for name in curves if curves.count(name) > 1]:
            raise ValueError(f"validation names {twice[0]!r} twice, and a benchmark has one curve")
        for number, one in enumerate(self.validation):
            _require_start(one, self.validation[:number])


def _require_start(one: ValidationSettings, before: Sequence[ValidationSettings]) -> None:
    """Images to start from are made at step 0 by a validation that comes before."""
    if one.refine_from is not None and not any(
        (one.benchmark, one.limit, one.seed) == (other.benchmark, other.limit, other.seed)
        for other in before
        if other.refine is None
    ):
        raise ValueError(
            f"refine_from={one.refine_from} needs a validation of {one.benchmark} in one pass "
            "before it, with the same limit and seed: that one makes the images"
        )


def _refuse_untrainable(
    draw: ImageSamplingSettings, image: ImageLossSettings, section: str
) -> None:
    if image.trained and (draw.tokens is None) != (image.token_algorithm is None):
        known = IMAGE_ALGORITHMS if draw.tokens is None else TOKEN_ALGORITHMS
        how = "denoised" if draw.tokens is None else "sampled token by token"
        raise ValueError(
            f"image.kind={image.kind} is not defined for {section}, whose images are {how}: use "
            f"{', '.join(known)} or {NOT_TRAINED}"
        )
    algorithm = image.algorithm
    if algorithm is None or not algorithm.trains_on.needs_window:
        return
    if draw.window.kind == "none":
        others = [n for n, row in IMAGE_ALGORITHMS.items() if not row.trains_on.needs_window]
        raise ValueError(
            f"{section} stores no steps, and image.kind={image.kind} trains nothing else: give it "
            f"a window, or train with {', '.join(sorted(others))} or {NOT_TRAINED}"
        )
    density = draw.density or usual_density(draw.kernel)
    if draw.kernel not in algorithm.kernels or density not in algorithm.densities:
        raise ValueError(
            f"image.kind={image.kind} is not defined for {section} with kernel={draw.kernel} and "
            f"density={density}: use {' or '.join(algorithm.kernels)}, "
            f"{' or '.join(algorithm.densities)}"
        )


def load_recipe(name: str | Path, assignments: Iterable[str] = ()) -> TrainingRecipe:
    """A recipe of the package by name, a file, or the recipe in a training's folder.

    `key=value` assignments override its keys.

    Raises:
        AlphaBenchError: no such recipe, or something in it that no setting has or takes.
    """
    return strict_yaml.build_settings(
        TrainingRecipe, strict_yaml.override(_tree(str(name)), assignments)
    )


def read_tree(path: Path) -> Tree:
    """The tree of a recipe file.

    Raises:
        AlphaBenchError: it cannot be read, or is no recipe.
    """
    try:
        text = read_text(path, max_bytes=_MOST_BYTES)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the recipe {str(path)!r} cannot be read: {error}",
            hint=f"name a YAML file, or one of {', '.join(recipe_names())}",
        ) from error
    return parse_yaml(text, source=repr(str(path)))


def _tree(name: str) -> Tree:
    if name in (names := recipe_names()):
        text = (importlib.resources.files(_PACKAGE) / "recipes" / f"{name}.yaml").read_text("utf-8")
        return parse_yaml(text, source=f"recipe {name!r}")
    path = Path(name).expanduser()
    if name and path.is_dir():
        if not (path / RECIPE_FILE).exists():
            raise AlphaBenchError(
                f"the folder {name!r} holds no training: it has no {RECIPE_FILE}",
                hint="name a recipe, a YAML file, or the folder of a training",
            )
        return read_tree(path / RECIPE_FILE)
    is_file = name.endswith((".yaml", ".yml"))
    if "/" in name and not is_file and not path.exists():
        raise AlphaBenchError(
            f"there is no training in {name!r}, and no recipe of that name",
            hint="`alphabench list runs` shows trainings, `alphabench list recipes` recipes",
        )
    if "/" in name or is_file:
        return read_tree(path)
    raise unknown_name("recipe", name, names)
