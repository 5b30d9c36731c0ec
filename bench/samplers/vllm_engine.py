"""Starts and stops vLLM engines in this process, beside what trains in it.

An engine sets things that are the whole process's: seeds, threads, environment, process groups. What can be put back is put back here.
"""

from __future__ import annotations

import copy
import gc
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from bench.errors import ConfigError
from bench.samplers import vllm_needs

if TYPE_CHECKING:
    import torch

    from bench.policy import Policy

QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}  # unless the user says otherwise
_living: WeakSet[Any] = WeakSet()  # the engines of this process, which share vLLM's process groups
_made_world = False  # the default process group is vLLM's own, not the trainer's


def start(policy: Policy, arguments: dict[str, Any]) -> Any:
    """A vLLM `LLM` of this policy's architecture, with weights that mean nothing until some are pushed.

    Raises MissingError where vLLM is missing, ConfigError where it cannot serve the model or the memory does not suffice.
    """
    import torch.distributed

    global _made_world
    vllm_needs.require()
    if arguments.get("enable_sleep_mode") and _living:
        raise ConfigError("vllm's sleep mode serves one engine in a process, and this run has two; set sampler.sleep=0")
    if policy.device.type == "cpu":
        vllm_needs.check_head(policy.model.config)
    with _undone(), at_work(policy.device), tempfile.TemporaryDirectory(prefix="bench-vllm-") as folder:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over within one process
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        vllm = vllm_needs.load()
        vllm_needs.check_device(_platform(), policy.device.type)
        _write_config(policy, folder)
        _keep_groups()
        _made_world = _made_world or not torch.distributed.is_initialized()
        where = {"model": folder, "distributed_executor_backend": _executor(policy.device.index or 0), "tensor_parallel_size": 1}
        # generation_config: the policy itself, not what its makers recommend for talking to it.
        plain = {"load_format": "dummy", "skip_tokenizer_init": True, "generation_config": "vllm", "disable_log_stats": True}
        try:
            engine = vllm.LLM(**where, **plain, **arguments)
        except (ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())[:400]
            raise ConfigError(f"vllm cannot serve this model here ({said}); change the settings of the vllm sampler, or take hf") from error
    _living.add(engine)
    return engine


def stop(engine: Any) -> None:
    """Free an engine's memory. vLLM's process groups go with the last engine; the default group goes only where vLLM made it."""
    import torch

    if engine not in _living:
        return
    _living.discard(engine)
    engine.llm_engine.engine_core.shutdown()
    del engine.llm_engine
    if not _living:
        _drop_groups()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def at_work(device: torch.device) -> Iterator[None]:
    """Around every call of an engine: torch's global generators stay where they are, and nothing is compiled on a processor, where the
    first requests would wait longer for it than all of them together gain."""
    import torch

    devices = [device] if device.type == "cuda" else []
    calm = torch.compiler.set_stance("force_eager") if device.type == "cpu" else nullcontext()
    with torch.random.fork_rng(devices), calm:
        yield


def _platform() -> str:
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def _write_config(policy: Policy, folder: str) -> None:
    """The configuration alone: the weights are on their way in memory."""
    config = copy.deepcopy(policy.model.config)
    config.architectures = config.architectures or [type(policy.model).__name__]
    config.save_pretrained(folder)


def _executor(index: int) -> type[Any]:
    """vLLM's executor within one process, on the policy's own device instead of the first one."""
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    def placed(self: Any) -> tuple[str, int, int]:
        method, rank, _ = UniProcExecutor._distributed_args(self)
        return method, rank, index

    return type("HereExecutor", (UniProcExecutor,), {"_distributed_args": placed})


def _keep_groups() -> None:
    """Take from vLLM what it does when an engine ends: it would destroy the process groups of the other engines, and the trainer's."""
    from vllm.v1.engine import core

    core.cleanup_dist_env_and_memory = gc.collect


def _drop_groups() -> None:
    """Destroy the process groups that vLLM made, and no other."""
    from vllm.distributed import parallel_state

    global _made_world
    parallel_state.destroy_model_parallel()
    if _made_world:
        parallel_state.destroy_distributed_environment()
    elif parallel_state._WORLD is not None:  # its copy of the trainer's group
        parallel_state._WORLD.destroy()
        parallel_state._WORLD = None
    _made_world = False


@contextmanager
def _undone() -> Iterator[None]:
    """Put back what starting an engine changes: random numbers, threads, precision of products, and the environment but for vLLM's own.

    Not what its import replaces on a processor: torch's CUDA streams and events, and `torch.accelerator`, which do nothing there anyway.
    """
    import numpy
    import torch

    environment, threads, set_threads = dict(os.environ), torch.get_num_threads(), torch.set_num_threads
    chance, chances, precision = random.getstate(), numpy.random.get_state(), torch.get_float32_matmul_precision()
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):  # of what vLLM uses, for its makers to mend
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        random.setstate(chance)
        numpy.random.set_state(chances)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        for name in os.environ.keys() | environment.keys():
            if name.startswith("VLLM_"):
                continue
            if name in environment:
                os.environ[name] = environment[name]
            else:
                del os.environ[name]
