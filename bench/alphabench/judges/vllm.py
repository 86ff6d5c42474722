"""A judge in this process, by vLLM's offline batches: no server, no port, prefix caching.

Passes vLLM many questions at once and lets it schedule them. Needs the extra `vllm`, which brings
its own torch. If the machine has no memory for it beside the checkpoint under test, serve the
model instead and give its address.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

from alphabench.core.errors import AlphaBenchError, short_line
from alphabench.core.options import fill
from alphabench.judges import in_process
from alphabench.judges.data_uris import data_uri
from alphabench.judges.openai.chat_api import LastingError, request_body
from alphabench.questions import Answer, Capabilities, ImagePart, Question, Reply
from alphabench.weights.find import WeightsFolder
from alphabench.weights.strict_loading import strict_loading

_KIND: Final = "vllm"
_TOP_LOGPROBS: Final = 20
_LAST_TOKENS: Final = 16
"""Of a prompt: those in which a chat template opens a thought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """What `vllm:MODEL?key=value` takes."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision; auto is the one that the weights are stored in."""
    batch_size: int = 256
    """Questions passed at once; vLLM schedules them as its memory allows."""
    images_per_question: int | None = None
    """Left out, 8, or 1 for kinds of models that were trained on single images."""
    max_model_len: int | None = None
    """Tokens of question and reply together; less than the model's own saves memory."""
    max_num_seqs: int | None = None
    """Questions computed at once, at most; left out, vLLM's choice."""
    tensor_parallel_size: int = 1
    """Accelerators that share the model."""
    gpu_memory_utilization: float = 0.9
    """The share of each accelerator's memory that vLLM takes."""
    quantization: str | None = None
    """Left out, as the checkpoint says."""
    enforce_eager: bool = False
    """Compute without compiled graphs: starts faster, runs slower."""
    thinking: bool | None = None
    """Sent to the chat template as enable_thinking; false for models that think by default."""
    extra_tokens: int = 0
    """Added to each question's bound on the reply, for models that always think."""
    remote_code: bool = False
    """Allow the checkpoint to run its own Python code, with all your rights."""

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.tensor_parallel_size, self.images_per_question or 1)
        if min(*counts, self.max_num_seqs or 1, self.max_model_len or 1) < 1:
            raise ValueError("counts, sizes and lengths are 1 or more")
        if self.extra_tokens < 0:
            raise ValueError("extra_tokens is 0 or more")
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            raise ValueError("gpu_memory_utilization lies above 0 and at most at 1")


def open_vllm(location: str, *, options: Mapping[str, str], device: str) -> VllmJudge:
    """`vllm:FOLDER` or `vllm:owner/name[@revision]`; nothing is loaded yet.

    vLLM chooses its devices itself, of those that CUDA_VISIBLE_DEVICES leaves visible.

    Raises:
        AlphaBenchError: vLLM is not installed, no location, or options that do not fit.
    """
    del device
    chosen = fill(VllmOptions, options, owner=_KIND)
    if not location:
        raise AlphaBenchError("vllm: names no model", hint="write vllm:FOLDER or vllm:owner/name")
    if importlib.util.find_spec("vllm") is None:
        raise AlphaBenchError(
            f"the judge 'vllm:{location}' needs vLLM, which is not installed",
            hint="install the extra 'vllm' of alphabench, or serve the model elsewhere and give "
            "its address: --judge http://host:8000/v1#model",
        )
    return VllmJudge(location, chosen)


class VllmJudge:
    """Can be pickled at any time; the copy loads the model again.

    Args:
        location: a folder or a hub id.
        options: see `VllmOptions`.
    """

    def __init__(self, location: str, options: VllmOptions) -> None:
        self.location = location
        self.options = options

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_engine"}

    def on_device(self, device: str) -> VllmJudge:
        """See `RunsOnDevice`: vLLM takes the first visible GPU, whatever the device.

        Raises:
            AlphaBenchError: it is another one than the first.
        """
        if device not in ("cpu", "cuda", "cuda:0"):
            raise AlphaBenchError(
                f"vLLM runs on the first GPU that it sees, and not on {device}",
                hint="make that GPU the only visible one (CUDA_VISIBLE_DEVICES), or serve the "
                "model with `vllm serve` and give its address: --judge http://host:8000/v1#model",
            )
        moved = copy.copy(self)
        if "_engine" in self.__dict__:
            moved.__dict__["_engine"] = self.__dict__["_engine"]
        return moved

    @property
    def identity(self) -> Mapping[str, str]:
        """Finds the weights, which may download them; loads nothing."""
        settings = {
            "dtype": self.options.dtype,
            "thinking": self.options.thinking,
            "extra_tokens": self.options.extra_tokens or None,
            "quantization": self.options.quantization,
            "library": f"vllm {version('vllm')}",
        }
        return in_process.identity_of(_KIND, self._weights, settings)

    @property
    def capabilities(self) -> Capabilities:
        images = in_process.images_per_question(
            self._weights.folder, self.options.images_per_question
        )
        return Capabilities(images_per_question=images, logprobs=True)

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the model, as its card states it."""
        return {self.location: in_process.model_licence(self._weights)}

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`.

        Raises:
            AlphaBenchError: the model cannot be loaded, or fails on question after question.
        """
        size = self.options.batch_size
        return in_process.answers_in_batches(questions, self._prepare, self._replies, size=size)

    @cached_property
    def _weights(self) -> WeightsFolder:
        return in_process.find_model(_KIND, self.location, remote_code=self.options.remote_code)

    @cached_property
    def _engine(self) -> _Engine:
        return _start(self.location, self._weights, self.options, self.capabilities)

    def _prepare(self, question: Question) -> _Prompt:
        in_process.refuse_control_tokens(question, self._engine.control_tokens)
        if in_process.n_images(question) > self.capabilities.images_per_question:
            raise LastingError(
                f"{in_process.n_images(question)} images exceed the limit of one question"
            )
        fields = in_process.TemplateFields(thinking=self.options.thinking).of(question)
        in_process.repetition_penalty(question.sampling)
        uris = [data_uri(part) for part in question.parts if isinstance(part, ImagePart)]
        body = request_body(question, uris, model="", fixed={})
        longer = in_process.with_extra_tokens(question, self.options.extra_tokens)
        return _Prompt(longer, body["messages"], fields)

    def _replies(self, prompts: Sequence[_Prompt]) -> list[Reply]:
        """One call for all prompts with the same fields of the chat template."""
        by_fields: dict[str, list[int]] = defaultdict(list)
        for position, prompt in enumerate(prompts):
            by_fields[repr(sorted(prompt.fields.items()))].append(position)
        replies: dict[int, Reply] = {}
        for positions in by_fields.values():
            chat_replies = _chat(
                self._engine, [prompts[p] for p in positions], self._weights.identity
            )
            replies |= zip(positions, chat_replies, strict=True)
        return [replies[position] for position in range(len(prompts))]


class _Prompt(NamedTuple):
    """A question as vLLM's chat takes it."""

    question: Question
    messages: list[dict[str, Any]]
    fields: Mapping[str, Any]


class _Engine(NamedTuple):
    llm: Any
    sampling_class: Any
    control_tokens: tuple[str, ...]
    tokenizer: Any


def _start(
    location: str, weights: WeightsFolder, options: VllmOptions, capabilities: Capabilities
) -> _Engine:
    """The engine with the model loaded.

    Raises:
        AlphaBenchError: vLLM cannot run this model here.
    """
    library: Any = importlib.import_module("vllm")
    optional = {
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        "quantization": options.quantization,
    }
    try:
        with strict_loading(location):
            llm = library.LLM(
                model=str(weights.folder),
                dtype=options.dtype,
                tensor_parallel_size=options.tensor_parallel_size,
                gpu_memory_utilization=options.gpu_memory_utilization,
                enforce_eager=options.enforce_eager,
                trust_remote_code=options.remote_code,
                limit_mm_per_prompt={"image": capabilities.images_per_question},
                enable_prefix_caching=True,
                max_logprobs=_TOP_LOGPROBS,
                **{key: value for key, value in optional.items() if value is not None},
            )
            tokenizer = llm.get_tokenizer()
            control_tokens = in_process.control_tokens(tokenizer)
    except Exception as error:
        # vLLM's process prints the rest on the terminal; any type of exception arrives here.
        raise AlphaBenchError(
            f"vLLM cannot serve {location!r}: {short_line(str(error)) or type(error).__name__}",
            hint="read its messages above; max_model_len and gpu_memory_utilization bound memory",
        ) from error
    return _Engine(llm, library.SamplingParams, control_tokens, tokenizer)


def _chat(engine: _Engine, prompts: Sequence[_Prompt], model: str) -> list[Reply]:
    outputs = engine.llm.chat(
        [prompt.messages for prompt in prompts],
        [_sampling(engine, prompt.question) for prompt in prompts],
        use_tqdm=False,
        chat_template_kwargs=dict(prompts[0].fields) or None,
    )
    return [_reply(engine, output, model) for output in outputs]


def _sampling(engine: _Engine, question: Question) -> Any:
    """A question's sampling as vLLM's parameters; the checkpoint decides what it leaves open."""
    sampling = question.sampling
    if sampling.temperature is None:
        params = engine.llm.get_default_sampling_params().clone()
    else:
        params = engine.sampling_class(temperature=sampling.temperature)
    params.max_tokens = sampling.max_tokens
    params.logprobs = sampling.top_logprobs or None
    if (penalty := in_process.repetition_penalty(sampling)) != 1.0:
        params.repetition_penalty = penalty
    # By content, so that a reply can be reproduced and a repeated question gets another one.
    params.seed = int(question.content_digest[:15], 16)
    if sampling.top_p is not None:
        params.top_p = sampling.top_p
    return params


def _reply(engine: _Engine, output: Any, model: str) -> Reply:
    (completion,) = output.outputs
    first = completion.logprobs[0].values() if completion.logprobs else ()
    prompt = str(engine.tokenizer.decode(output.prompt_token_ids[-_LAST_TOKENS:]))
    ranked = sorted(first, key=lambda one: -one.logprob)
    return Reply(
        text=in_process.with_opened_thought(prompt, completion.text),
        model=model,
        first_token=tuple((str(one.decoded_token), float(one.logprob)) for one in ranked),
        finish_reason=completion.finish_reason,
        tokens_in=len(output.prompt_token_ids),
        tokens_out=len(completion.token_ids),
    )
