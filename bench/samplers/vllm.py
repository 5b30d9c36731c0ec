"""Sampling with vLLM, in the trainer's process and beside it in memory, with weights of its own that are pushed after each update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.chance import number
from bench.errors import ConfigError
from bench.samplers import vllm_engine, vllm_needs
from bench.samplers.base import Completion, Sampler, Session

if TYPE_CHECKING:
    from torch import Tensor

    from bench.policy import Policy

CPU_CACHE_MB = 256  # of keys and values on a processor, where vLLM would take a share of all memory
Asked = tuple[list[int], int | None]  # a prompt and the seed of its completion
CPU_BLOCK = 32  # tokens; vLLM's 128 are more than most prompts have, and no shorter prompt is found in the prefix cache


@dataclass(frozen=True, kw_only=True)
class VLLM(Sampler):
    """Samples with vLLM: much faster with large models on a GPU, with log-probabilities that differ from the trainer's by rounding."""

    memory: float = 0.3  # share of the GPU's memory for vLLM's weights and keys and values; the trainer needs the rest
    cache_mb: int = 0  # MiB for keys and values; 0: what `memory` leaves, and 256 on a processor
    max_length: int = 0  # tokens of prompt and completion; 0: as many as the model knows places for and the memory holds
    rows: int = 256  # completions that grow side by side
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: that of the policy's arithmetic
    graphs: bool = True  # CUDA graphs and compiled kernels, a minute's start; a processor does without
    prefix_caching: bool = True  # read a prompt once for all of its completions
    sleep: Literal[0, 1, 2] = 0  # give memory back while the policy trains: 1 keeps the weights in the host's memory, 2 forgets them

    def __post_init__(self) -> None:
        if not 0 < self.memory <= 1:
            raise ConfigError(f"memory is {self.memory}; it is a share of the GPU's memory, above 0 and at most 1")
        for name, least in (("cache_mb", 0), ("max_length", 0), ("rows", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {least} or more")

    def ready(self) -> None:
        vllm_needs.require()

    def open(self, policy: Policy) -> VLLMSession:
        """Starts an engine, which takes seconds, and with CUDA graphs about a minute.

        Raises MissingError where vLLM is missing or too old, ConfigError where it cannot serve this model.
        """
        return VLLMSession(policy, self)

    def arguments(self, device: str) -> dict[str, Any]:
        """What vLLM's `LLM` is given on this kind of device."""
        cpu = device == "cpu"
        cache = self.cache_mb or (CPU_CACHE_MB if cpu else 0)
        return {
            "gpu_memory_utilization": self.memory,
            "max_model_len": self.max_length or -1,
            "max_num_seqs": self.rows,
            "enforce_eager": cpu or not self.graphs,
            "enable_prefix_caching": self.prefix_caching,
            **({"kv_cache_memory_bytes": cache << 20} if cache else {}),
            **({"block_size": CPU_BLOCK} if cpu else {}),
            **({"enable_sleep_mode": True} if self.sleep and not cpu else {}),
        }


class VLLMSession(Session):
    """An engine with a copy of a policy's weights. A completion depends on the weights, its prompt, its place, the limit and the seed."""

    def __init__(self, policy: Policy, settings: VLLM) -> None:
        self.policy = policy
        self.dtype = settings.dtype if settings.dtype != "auto" else "float32" if policy.exact else "bfloat16"
        self.engine = vllm_engine.start(policy, {"dtype": self.dtype, **settings.arguments(policy.device.type)})
        self.longest = int(self.engine.model_config.max_model_len)
        self.level = settings.sleep if policy.device.type != "cpu" else 0
        self.asleep: set[str] = set()  # parts of the engine whose memory is given back
        self.refresh()

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        """Raises ConfigError for a prompt that leaves no room for `limit` tokens."""
        return self.share(prompts, n, limit, seed, 0, len(prompts))

    def share(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str, first: int, count: int) -> list[list[Completion]]:
        """What `sample` gives for prompts[first : first + count], without sampling the others."""
        part = prompts[first : first + count]
        asked: list[Asked] = [(list(prompt), number(f"{seed}:{first + i}:{k}")) for i, prompt in enumerate(part) for k in range(n)]
        done = self._run(asked, limit, temperature=1.0)
        return [done[i * n : (i + 1) * n] for i in range(len(part))]

    def greedy(self, prompts: Sequence[Sequence[int]], limit: int) -> list[Completion]:
        """One completion of each prompt, its every token the likeliest."""
        return self._run([(list(prompt), None) for prompt in prompts], limit, temperature=0.0)

    def _run(self, asked: list[Asked], limit: int, temperature: float) -> list[Completion]:
        """The completions of prompts, each with the seed of its own."""
        from vllm import SamplingParams

        self._check_room(max((len(prompt) for prompt, _ in asked), default=0), limit)
        self._wake()  # before anything else, for weights may have to be gathered from every process, of which some have no prompts
        if not asked:
            return []
        ends = sorted(self.policy.ends)
        # ignore_eos: only the policy says what ends a completion, not the configuration. logprobs=0: of the sampled token alone.
        common: dict[str, Any] = {"temperature": temperature, "max_tokens": limit, "logprobs": 0, "detokenize": False}
        common |= {"stop_token_ids": ends, "ignore_eos": True, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
        # What is left of earlier calls may be of other weights, and would change the last digits of what follows it.
        self.engine.reset_prefix_cache()
        with vllm_engine.at_work(self.policy.device):
            found = self.engine.generate(
                [{"prompt_token_ids": prompt} for prompt, _ in asked],
                [SamplingParams(**common, seed=seed) for _, seed in asked],
                use_tqdm=False,
            )
        if self.level:
            self.engine.sleep(self.level)
            self.asleep = {"weights", "kv_cache"}
        return [self._completion(request.outputs[0], frozenset(ends)) for request in found]

    def _completion(self, output: Any, ends: frozenset[int]) -> Completion:
        tokens = tuple(output.token_ids)
        logp = tuple(step[token].logprob for token, step in zip(tokens, output.logprobs, strict=True))
        return Completion(tokens, logp, self.policy.decode(tokens), tokens[-1] not in ends)

    def _check_room(self, prompt: int, limit: int) -> None:
        if prompt + limit > self.longest:
            raise ConfigError(
                f"a prompt of {prompt} tokens and {limit} more are {prompt + limit}, but this engine holds {self.longest}: lower "
                "train.limit, or raise sampler.max_length, up to the places that the model knows, and sampler.memory or sampler.cache_mb "
                "with it"
            )

    def _wake(self) -> None:
        """Take memory again. What forgot the weights is given them anew."""
        if "weights" in self.asleep and self.level == 2:
            self.refresh()
        if self.asleep:
            self.engine.wake_up(sorted(self.asleep))
            self.asleep = set()

    def refresh(self) -> None:
        """Push every weight to the engine; keys and values of the older ones are forgotten before the next completion."""
        if "weights" in self.asleep:
            self.engine.wake_up(["weights"])
            self.asleep.remove("weights")
        with vllm_engine.at_work(self.policy.device):
            self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": self._weights()})

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """The policy's weights by their names in a checkpoint, in the engine's precision, one after the other."""
        import torch

        dtype = getattr(torch, self.dtype)
        for name, tensor in self.policy.exported():  # with the head where it is tied: vLLM has a copy of its own, packed
            yield name, tensor.detach().to(dtype)

    def close(self) -> None:
        """Free the engine. A second call does nothing."""
        engine, self.engine = self.engine, None
        if engine is not None:
            vllm_engine.stop(engine)
