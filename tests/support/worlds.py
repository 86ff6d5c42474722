"""Drawn images whose questions have known answers, and a judge that knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from alphabench.checkpoints.scene import open_scene
from alphabench.questions import Question
from alphabench.runs.plan import requests_for
from alphabench.runs.store import sha256_of
from alphabench.scenes.scene_questions import check_holds
from alphabench.types import GeneratedImage, ProtocolName
from alphabench.upstream import UpstreamData
from alphagrpo.dvreward.dvreward_benchmark import DVReward, open_dvreward
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.verification import VerificationOptions, questions_to_ask


@dataclass(frozen=True)
class DrawnRun:
    """Images of `dvreward:mini`, and the true answer to every question about them."""

    benchmark: DVReward
    images: list[GeneratedImage]
    truth: Mapping[tuple[str, str], bool]

    def honest(self, question: Question) -> str:
        return "yes" if self.truth[question.image_id, question.id] else "no"


def draw_mini(
    folder: Path, *, error: float = 0.0, n_prompts: int = 60, protocol: ProtocolName = "official"
) -> DrawnRun:
    benchmark = open_dvreward("mini", protocol=protocol, data=UpstreamData(cache_dir=folder))
    checkpoint = open_scene("", options={"error": str(error), "size": "64"})
    samples = benchmark.samples()
    step = max(1, len(samples) // n_prompts)
    images: list[GeneratedImage] = []
    truth: dict[tuple[str, str], bool] = {}
    for request in requests_for(samples[::step], 1, seed=0):
        drawn = checkpoint.render_request(request)
        path = folder / f"{request.sample.id}.png"
        drawn.image.save(path)
        images.append(
            GeneratedImage(request=request, path=path, sha256=sha256_of(path), seconds=0.0)
        )
        for name, one in questions_to_ask(questions_of(request.sample), VerificationOptions()):
            assert one.check is not None
            truth[request.id, name] = check_holds(one.check, drawn.truth)
    return DrawnRun(benchmark=benchmark, images=images, truth=truth)


Draw = Callable[..., DrawnRun]
