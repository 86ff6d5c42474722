"""Judges in this process reply on a device as on the CPU, through transformers' own `generate`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.benchmarks.dpg.questions import BareWord
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.judges.token_sampling import TokenSampler, TokenSampling
from alphabench.questions import Answer, ImagePart, Question, ReplySampling
from tests.evaluators.conftest import noise_image
from tests.support.host_traffic import recorded

pytestmark = pytest.mark.device


def questions(folder: Path) -> list[Question]:
    """One about each of two images, one greedy and one sampled."""
    asked = []
    for number, temperature in enumerate((0.0, 0.7)):
        path = folder / f"{number}.png"
        noise_image(64, 64 + 32 * number, seed=number).save(path)
        image = ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        sampling = ReplySampling(max_tokens=2, top_logprobs=3, temperature=temperature)
        asked.append(
            Question(
                image_id=path.stem,
                id="0",
                parts=(image, f"Is there a red cat? {'Look. ' * number}"),
                sampling=sampling,
                answer_format=BareWord(empty_is_no=True),
            )
        )
    return asked


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.whole)])
def test_the_nano_judge_replies_as_on_the_cpu(
    dtype: str, tmp_path: Path, stand_in: torch.device
) -> None:
    asked = questions(tmp_path)

    def answers(device: str) -> list[Answer]:
        return list(open_nano_judge("", options={"dtype": dtype}, device=device).ask(asked))

    with sdpa_kernel(SDPBackend.MATH):  # a fused kernel of the CPU rounds otherwise
        both = zip(answers(str(stand_in)), answers("cpu"), strict=True)
    for found, wanted in both:
        assert found.status == wanted.status == "scored"
        assert found.reply is not None
        assert wanted.reply is not None
        if dtype == "float32":
            assert found.reply.text == wanted.reply.text
        for one, other in zip(found.reply.first_token, wanted.reply.first_token, strict=True):
            assert one[0] == other[0]
            assert one[1] == pytest.approx(other[1], abs=1e-5 if dtype == "float32" else 0.05)


def test_sampling_a_token_of_all_questions_waits_only_for_the_first_ones_probabilities(
    stand_in: torch.device,
) -> None:
    settings = [TokenSampling(temperature=0.7, top_p=0.9, top_k=5), TokenSampling()]
    logits_BV = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    chosen = []
    for device in (torch.device("cpu"), stand_in):
        sampler = TokenSampler(settings, seeds=[1, 2])
        scores_BV = logits_BV.to(device)
        with recorded() as traffic:
            steps = [sampler(torch.empty(0), scores_BV) for _ in range(3)]
        chosen.append([step_BV.argmax(dim=-1).tolist() for step_BV in steps])
    assert chosen[0] == chosen[1]
    assert (traffic.waits(), traffic.uploads()) == (1, 0), traffic.by_place()
