"""Open judges that benchmarks prescribe: how upstream asks them, how to serve them, their sizes.

A literal table. What a benchmark sends itself (temperature, reply bound, wording) is the protocol's
and stands here for comparison; the rest becomes options, to ask a judge likewise elsewhere. Sizes
are those that `tools.perf.judge_memory` counts. None of these models has been run for this table:
it states what upstream's scripts do. Asks nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from alphabench.core.errors import AlphaBenchError, unknown_name

Thinking = Literal["none", "on", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """What a model takes; weights and keys in bfloat16, but for AWQ's 4-bit weights."""

    weights_gib: float
    kv_mib: int
    """Of keys and values, for 1,000 tokens."""
    state_mib: int = 0
    """Of linear attention, for a conversation of any length."""
    pixels_per_token: int
    """Side of the square of pixels that becomes one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescription:
    """How upstream asks a judge."""

    by: str
    """The benchmark, or the reward model's own script."""
    source: str
    """The file of upstream that says so."""
    temperature: float | None
    """None: none is sent, so the server's default or the checkpoint's own configuration acts."""
    max_tokens: int | None
    """None: upstream sets no bound."""
    thinking: Thinking = "none"
    """none: the model has no such mode."""
    top_p: float | None = None
    further: tuple[tuple[str, str], ...] = ()
    """Other fields of a request, as JSON: options of the judge."""
    own_generation: bool = False
    """The checkpoint's own penalties and temperature act (`--generation-config auto`)."""
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeProfile:
    """One model, and who prescribes it."""

    model: str
    """Id on the hub."""
    size: ModelSize
    context: int
    """Tokens of question and reply together, for `--max-model-len`."""
    images: int = 2
    """In one question."""
    prescriptions: tuple[Prescription, ...]
    remark: str = ""

    def options(self, prescription: Prescription) -> str:
        """The judge's options, as they follow `?`; empty where none are needed."""
        thinking = {"on": "true", "off": "false"}.get(prescription.thinking)
        chosen = [f"thinking={thinking}"] if thinking else []
        chosen += [f"body.{name}={value}" for name, value in prescription.further]
        return "&".join(chosen)

    def serve_command(self, prescription: Prescription) -> str:
        """A command of vLLM for this prescription."""
        words = [
            "vllm", "serve", self.model,
            "--limit-mm-per-prompt", f'{{"image":{self.images},"video":0}}',
            "--max-model-len", str(self.context), "--enable-prefix-caching",
            "--generation-config", "auto" if prescription.own_generation else "vllm",
            "--max-logprobs", "20",
        ]  # fmt: skip
        return shlex.join(words)


_QWEN25_7B: Final = ModelSize(weights_gib=15.4, kv_mib=55, pixels_per_token=28)
_QWEN25_72B: Final = ModelSize(weights_gib=136.7, kv_mib=312, pixels_per_token=28)
_QWEN3_8B: Final = ModelSize(weights_gib=16.3, kv_mib=141, pixels_per_token=32)
_QWEN3_32B: Final = ModelSize(weights_gib=62.1, kv_mib=250, pixels_per_token=32)

_CORE: Final = "KlingTeam/T2I-CoReBench evaluate.py"
_CORE_CONTEXT: Final = 25_600
_CORE_PLAIN: Final = Prescription(
    by="T2I-CoReBench", source=_CORE, temperature=0.0, max_tokens=512,
    further=(("repetition_penalty", "1.05"),),
)  # fmt: skip
_CORE_THINKING: Final = Prescription(
    by="T2I-CoReBench", source=_CORE, temperature=0.0, max_tokens=512, thinking="on",
    further=(("repetition_penalty", "1.05"),),
    remark="a reply that has not closed its thought is asked again with 2,048 tokens, then 8,192",
)  # fmt: skip
_UNIFIED: Final = Prescription(
    by="UnifiedReward 2.0",
    source="CodeGoat24/UnifiedReward inference_qwen/UnifiedReward-2.0-inference/vllm_request.py",
    temperature=None, max_tokens=4096, own_generation=True,
    remark="upstream sends do_sample=false, which is no field of vLLM: the server's default acts",
)  # fmt: skip

PROFILES: Final = (
    JudgeProfile(
        model="Qwen/Qwen3.5-9B", context=_CORE_CONTEXT, prescriptions=(_CORE_THINKING,),
        size=ModelSize(weights_gib=17.5, kv_mib=31, state_mib=49, pixels_per_token=32),
    ),
    JudgeProfile(
        model="Qwen/Qwen3.5-35B-A3B", context=_CORE_CONTEXT,
        size=ModelSize(weights_gib=65.4, kv_mib=20, state_mib=61, pixels_per_token=32),
        prescriptions=(
            Prescription(
                by="WISE_Verified", source="PKU-YuanGroup/WISE", temperature=0.0, max_tokens=500,
                thinking="off",
            ),
            _CORE_THINKING,
        ),
    ),
    JudgeProfile(
        model="Qwen/Qwen3-VL-8B-Instruct", context=_CORE_CONTEXT, size=_QWEN3_8B,
        prescriptions=(
            Prescription(
                by="GenEval 2", source="facebookresearch/GenEval2 evaluation.py", temperature=0.0,
                max_tokens=1,
                remark="upstream reads the whole vocabulary in process; a server gives 20 tokens",
            ),
            _CORE_PLAIN,
        ),
    ),
    JudgeProfile(
        model="Qwen/Qwen3-VL-32B-Instruct", context=_CORE_CONTEXT, size=_QWEN3_32B,
        prescriptions=(_CORE_PLAIN,),
    ),
    JudgeProfile(
        model="Qwen/Qwen2.5-VL-7B-Instruct", context=16_384, size=_QWEN25_7B,
        prescriptions=(
            Prescription(
                by="OneIG-Bench (alignment)", temperature=None, max_tokens=128, own_generation=True,
                source="OneIG-Bench/OneIG-Benchmark scripts/utils/inference.py",
            ),
            Prescription(
                by="OneIG-Bench (text)", temperature=None, max_tokens=256, own_generation=True,
                source="OneIG-Bench/OneIG-Benchmark scripts/utils/inference.py",
                remark="128 tokens where the text has at most 60 words",
            ),
            Prescription(
                by="LongText-Bench", temperature=None, max_tokens=1024, own_generation=True,
                source="X-Omni-Team/X-Omni textbench/evaluate_text_reward.py",
            ),
        ),
        remark="upstream asks in process with transformers",
    ),
    JudgeProfile(
        model="Qwen/Qwen2.5-VL-72B-Instruct", context=_CORE_CONTEXT, size=_QWEN25_72B,
        prescriptions=(
            Prescription(
                by="TIIF-Bench", source="A113N-W3I/TIIF-Bench", temperature=1.0, max_tokens=None,
            ),
            _CORE_PLAIN,
        ),
        remark="with 4-bit weights it is another judge: Qwen2.5-VL-72B-Instruct-AWQ",
    ),
    JudgeProfile(
        model="Qwen/Qwen2.5-VL-72B-Instruct-AWQ", context=16_384,
        size=ModelSize(weights_gib=40.1, kv_mib=312, pixels_per_token=28),
        prescriptions=(
            Prescription(
                by="GEdit-Bench (qwen25vl)", source="stepfun-ai/Step1X-Edit GEdit-Bench",
                temperature=0.0, max_tokens=512, remark="upstream seeds with 42",
            ),
        ),
    ),
    JudgeProfile(
        model="CodeGoat24/UniGenBench-EvalModel-qwen3vl-32b-v1", context=16_384, size=_QWEN3_32B,
        prescriptions=(
            Prescription(
                by="UniGenBench++", source="CodeGoat24/UniGenBench", temperature=None,
                max_tokens=4096, own_generation=True,
                remark="upstream sends do_sample=false, which is no field of vLLM",
            ),
        ),
        remark="sizes of Qwen3-VL-32B",
    ),
    JudgeProfile(
        model="EditScore/EditScore-7B", context=16_384, size=_QWEN25_7B,
        prescriptions=(
            Prescription(
                by="EditScore", temperature=0.7, max_tokens=512,
                source="VectorSpaceLab/EditScore editscore/mllm_tools/qwen25vl_vllm.py",
                top_p=0.9,
                further=(("top_k", "20"),),
                remark="upstream allows 1,536 tokens of context and seeds with 42",
            ),
        ),
        remark="a LoRA, to be merged into Qwen2.5-VL-7B-Instruct; scores 0 to 25, in its own words",
    ),
    JudgeProfile(
        model="CodeGoat24/UnifiedReward-2.0-qwen-7b", context=16_384, size=_QWEN25_7B,
        prescriptions=(_UNIFIED,), remark="scores 1 to 5 in lines, in its own words",
    ),
    JudgeProfile(
        model="CodeGoat24/UnifiedReward-2.0-qwen3vl-8b", context=16_384, size=_QWEN3_8B,
        prescriptions=(_UNIFIED,), remark="scores 1 to 5 in lines, in its own words",
    ),
)  # fmt: skip


def find_profile(name: str) -> JudgeProfile:
    """The profile of a model, by its id or by the part after the slash.

    Raises:
        AlphaBenchError: there is none.
    """
    wanted = name.casefold()
    for profile in PROFILES:
        if wanted in (profile.model.casefold(), profile.model.casefold().rpartition("/")[2]):
            return profile
    error = unknown_name("profile of a judge", name, [profile.model for profile in PROFILES])
    raise AlphaBenchError(error.message, hint=error.hint)


def describe_profiles() -> Iterator[str]:
    """A line for each profile."""
    for profile in PROFILES:
        size = profile.size
        asked_by = ", ".join(one.by for one in profile.prescriptions)
        yield f"{profile.model}: {size.weights_gib:g} GiB of weights; {asked_by}"


def describe_profile(profile: JudgeProfile) -> Iterator[str]:
    """What is known of one judge, and the commands for each who prescribes it."""
    size = profile.size
    state = f", {size.state_mib} MiB for a conversation" if size.state_mib else ""
    yield (
        f"{profile.model}: {size.weights_gib:g} GiB of weights, {size.kv_mib} MiB for 1,000 "
        f"tokens{state}, an image of 1024 x 1024 takes {round(1024 / size.pixels_per_token) ** 2} "
        "tokens"
    )
    if profile.remark:
        yield f"  {profile.remark}"
    for one in profile.prescriptions:
        yield ""
        yield f"{one.by} ({one.source}): {', '.join(_sampling(one))}"
        if one.remark:
            yield f"  {one.remark}"
        yield f"  {profile.serve_command(one)}"
        options = profile.options(one)
        address = f"http://localhost:8000/v1#{profile.model}" + (f"?{options}" if options else "")
        yield f"  --judge '{address}'"


def _sampling(one: Prescription) -> Iterator[str]:
    yield "no temperature sent" if one.temperature is None else f"temperature {one.temperature:g}"
    if one.top_p is not None:
        yield f"top p {one.top_p:g}"
    yield from (f"{name.replace('_', ' ')} {value}" for name, value in one.further)
    yield f"up to {one.max_tokens:,} new tokens" if one.max_tokens else "no bound on new tokens"
    if one.thinking != "none":
        yield f"thinking {one.thinking}"
