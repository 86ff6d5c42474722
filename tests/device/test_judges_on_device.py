"""Judges in this process reply on a device as on the CPU, through transformers' own `generate`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.benchmarks.dpg.questions import BareWord
from alphabench.judges.nano_judge import DeduplicatedVision, open_nano_judge
from alphabench.judges.token_sampling import TokenSampler, TokenSampling
from alphabench.questions import Answer, ImagePart, Question, ReplySampling
from tests.evaluators.conftest import noise_image
from tests.support.host_traffic import recorded

pytestmark = pytest.mark.device

MOST_OF_A_BATCH = 20


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


def plainly_encoded(
    self: DeduplicatedVision, patches_PF: torch.Tensor, grids: torch.Tensor, settings: Any
) -> Any:
    """The tower computes everything where the patches are."""
    return self.tower(patches_PF, grid_thw=grids.to(patches_PF.device), **settings)


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


def test_the_nano_judge_waits_as_often_for_many_questions_as_for_two(
    tmp_path: Path, stand_in: torch.device
) -> None:
    asked = questions(tmp_path)
    judge = open_nano_judge("", options={}, device=str(stand_in))
    list(judge.ask(asked))  # loads it
    waits = []
    for batch in (asked, [replace(one, id=str(n)) for n in range(4) for one in asked]):
        with recorded() as traffic:
            answers = list(judge.ask(batch))
        assert {one.status for one in answers} == {"scored"}
        waits.append(traffic.waits())
    assert waits[0] == waits[1] <= MOST_OF_A_BATCH, traffic.by_place()


def test_what_is_computed_on_the_host_is_bit_for_bit_what_the_model_computes_itself(
    tmp_path: Path, stand_in: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = questions(tmp_path)
    for batch in (asked, [*asked, asked[0]]):  # all images differ; two are the same

        def replies(batch: list[Question] = batch) -> list[object]:
            judge = open_nano_judge("", options={}, device=str(stand_in))
            return [answer.reply for answer in judge.ask(batch)]

        found = replies()
        with monkeypatch.context() as patched:
            patched.setattr("alphabench.judges.transformers._HOST_POSITIONS", ())
            patched.setattr(DeduplicatedVision, "_encoded", plainly_encoded)
            with recorded() as traffic:
                wanted = replies()
        assert traffic.waits(lambda event: event.within("get_rope_index")) >= 9 * len(batch)
        assert None not in found
        assert found == wanted


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
