"""Peak memory of log-probabilities over a large vocabulary, forward and backward: by chunks, and in the plain form.

The last states of 16 completions of 512 tokens at Qwen2.5-0.5B's width and vocabulary, drawn at random, go through the head to
log-probabilities and entropies, and gradients come back to states and weights. The plain form is a table of logits in float32 and
`log_softmax` of it. Each form is measured in a process of its own: what the process (or the GPU) held at its height, less what it held with
the states and weights made and nothing computed. A form that would not fit into the memory that is free is left out, and both are then
measured with fewer tokens, too. `--model` puts a whole model with random weights in front of the head.

    python benchmarks/memory.py
    python benchmarks/memory.py --tokens 1024 --dtype bfloat16
    python benchmarks/memory.py --device cuda --model
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from bench.reading import Head, Reader  # noqa: E402
from bench.token_logp import token_logp  # noqa: E402

FORMS = ("chunked", "plain")
TABLES = {False: 3.5, True: 6.0}  # (N, V) in float32 that the plain form holds at its height: with an entropy that is differentiated, more
ROW = 512  # tokens of a completion
Setup = dict[str, Any]
FULL: Setup = {
    "tokens": 16 * ROW,
    "vocabulary": 151_936,
    "hidden": 896,
    "dtype": "float32",
    "device": "cpu",
    "entropy_gradient": False,
    "model": False,
    "layers": 24,
    "threads": 1,
    "share": 0.5,
}


def plain(states: Tensor, weight: Tensor, chosen: Tensor, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    """What `token_logp` gives, by whole tables."""
    table = F.log_softmax(F.linear(states, weight.to(states.dtype)).float(), dim=-1)
    source = table if entropy_gradient else table.detach()
    return table.gather(-1, chosen.unsqueeze(-1)).squeeze(-1), -(source.exp() * source).sum(-1)


def head(setup: Setup) -> tuple[list[Tensor], Any]:
    """What gradients flow to, and a call that gives log-probabilities and entropies by a form."""
    draw = torch.Generator(setup["device"]).manual_seed(0)
    made: Setup = {"device": setup["device"], "generator": draw}
    dtype = getattr(torch, setup["dtype"])
    states = torch.randn(setup["tokens"], setup["hidden"], dtype=dtype, **made).requires_grad_()
    weight = torch.randn(setup["vocabulary"], setup["hidden"], **made).mul_(setup["hidden"] ** -0.5).requires_grad_()
    chosen = torch.randint(setup["vocabulary"], (setup["tokens"],), **made)
    along = setup["entropy_gradient"]
    calls = {
        "chunked": lambda: token_logp(states, weight, None, chosen, entropy_gradient=along),
        "plain": lambda: plain(states, weight, chosen, along),
    }
    return [states, weight], calls


def whole(setup: Setup) -> tuple[list[Tensor], Any]:
    """The same with a model of Qwen2.5's form in front, which recomputes its layers."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    hidden, heads = setup["hidden"], setup["hidden"] // 64
    config = Qwen2Config(
        hidden_size=hidden,
        intermediate_size=5 * hidden + hidden * 3 // 7,
        num_hidden_layers=setup["layers"],
        num_attention_heads=heads,
        num_key_value_heads=2 if heads % 2 == 0 else 1,
        vocab_size=setup["vocabulary"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model: Any = Qwen2ForCausalLM(config)
    model = model.to(setup["device"]).eval()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    rows = -(-setup["tokens"] // ROW)
    tokens = torch.randint(setup["vocabulary"], (rows, setup["tokens"] // rows), device=setup["device"])
    chosen, places = tokens.flatten().roll(-1), torch.arange(tokens.numel(), device=setup["device"])
    readers = {form: Reader(model, mixed=setup["dtype"] == "bfloat16") for form in FORMS}
    readers["plain"].head = Head(False)

    def read(form: str) -> tuple[Tensor, Tensor]:
        found = readers[form](tokens, places, chosen, entropy_gradient=setup["entropy_gradient"])
        assert found.logp is not None and found.entropy is not None
        return found.logp, found.entropy

    return list(model.parameters()), {form: lambda form=form: read(form) for form in FORMS}


def step(leaves: list[Tensor], call: Any, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    """Forward and backward of a weighted sum; leaves gradients where they belong."""
    logp, entropy = call()
    weight = torch.linspace(-1, 1, len(logp), device=logp.device)
    loss = (weight * logp).sum() / len(logp)
    (loss - 0.01 * entropy.mean() if entropy_gradient else loss).backward()
    return logp.detach(), entropy.detach()


def resident() -> int:
    """The most bytes that this process has held so far. What `getrusage` says may be the parent's, from before this program began."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(form: str, setup: Setup) -> dict[str, Any]:
    """One form, once: in a process that does nothing else."""
    torch.set_num_threads(setup["threads"])
    on_gpu = setup["device"] == "cuda"
    leaves, calls = (whole if setup["model"] else head)(setup)
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else resident()
    began = time.perf_counter()
    logp, entropy = step(leaves, calls[form], setup["entropy_gradient"])
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if on_gpu else resident()
    gradients = [leaf.grad.double().norm().item() for leaf in leaves if leaf.grad is not None]
    says = {"logp": logp.double().mean().item(), "entropy": entropy.double().mean().item(), "gradients": gradients}
    return {"form": form, "tokens": setup["tokens"], "bytes": peak - before, "bytes_before": before, "seconds": seconds, "says": says}


def measured(form: str, setup: Setup) -> dict[str, Any]:
    """`child` in a process of its own. Raises RuntimeError with the end of what it said where it fails."""
    command = [sys.executable, str(HERE / "memory.py"), "--child", form, json.dumps(setup)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setup["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"the {form} form with {setup['tokens']} tokens: exit status {done.returncode}, {done.stderr[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def free(device: str) -> int:
    """Bytes that nobody holds."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def needed(setup: Setup) -> int:
    """About what the plain form takes, with the weights of the head, their gradients and the process itself."""
    return int(4 * setup["vocabulary"] * (TABLES[setup["entropy_gradient"]] * setup["tokens"] + 3 * setup["hidden"])) + (2 << 30)


def fitting(setup: Setup) -> int:
    """The most tokens, in halvings of those asked for, with which the plain form fits into what is free."""
    tokens, room = setup["tokens"], free(setup["device"]) * setup["share"]
    while tokens > 1 and needed({**setup, "tokens": tokens}) > room:
        tokens //= 2
    return int(tokens)


def agree(setup: Setup, tokens: int = 256) -> dict[str, float]:
    """The largest differences between the forms, relative to the largest value: numbers, and gradients of states and weights."""
    leaves, calls = head({**setup, "tokens": tokens})
    found = {}
    for form in FORMS:
        for leaf in leaves:
            leaf.grad = None
        found[form] = [*step(leaves, calls[form], setup["entropy_gradient"]), *(leaf.grad for leaf in leaves)]
    names = ("logp", "entropy", "gradient of states", "gradient of weights")
    pairs = zip(names, *found.values(), strict=True)
    return {name: float((a.float() - b.float()).abs().max() / b.float().abs().max()) for name, a, b in pairs}


def table(setup: Setup) -> dict[str, Any]:
    """Both forms at the size asked for where they fit, else the plain one at the largest that does, with the other beside it."""
    torch.set_num_threads(setup["threads"])
    small = fitting(setup)
    runs = [measured("chunked", setup)]
    if small < setup["tokens"]:
        runs.append(measured("chunked", {**setup, "tokens": small}))
    runs.append(measured("plain", {**setup, "tokens": small}))
    found = {"setup": setup, "runs": runs, "one_table_bytes": 4 * setup["tokens"] * setup["vocabulary"]}
    found["largest_relative_differences"] = agree(setup)
    if small < setup["tokens"]:
        found["plain_left_out"] = f"with {setup['tokens']} tokens the plain form would need about {needed(setup) / 2**30:.0f} GiB"
    return found


def shown(found: dict[str, Any]) -> str:
    """A Markdown table and what goes with it."""
    tokens = found["setup"]["tokens"]
    lines = ["| form | tokens | peak above the inputs | seconds |", "|---|---:|---:|---:|"]
    for run in found["runs"]:
        lines.append(f"| {run['form']} | {run['tokens']:,} | {run['bytes'] / 2**30:.2f} GiB | {run['seconds']:.1f} |")
    by_tokens = {(run["form"], run["tokens"]): run for run in found["runs"]}
    small = found["runs"][-1]["tokens"]
    ratio = by_tokens["plain", small]["bytes"] / by_tokens["chunked", small]["bytes"]
    lines.append(f"\nplain / chunked at {small:,} tokens: {ratio:.1f} times the memory. One table in float32 at {tokens:,}")
    lines.append(f"tokens is {found['one_table_bytes'] / 2**30:.1f} GiB. {found.get('plain_left_out', '')}".rstrip())
    differences = ", ".join(f"{name} {value:.1e}" for name, value in found["largest_relative_differences"].items())
    return "\n".join([*lines, f"largest relative differences between the forms: {differences}"])


def main() -> None:
    """Prints the table, then the JSON on one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tokens", "vocabulary", "hidden", "threads", "layers"):
        parser.add_argument(f"--{name}", type=int, default=FULL[name])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default=FULL["dtype"], help="of the product with the head")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=FULL["device"])
    parser.add_argument("--share", type=float, default=FULL["share"], help="of the free memory, that the plain form may take")
    parser.add_argument("--entropy-gradient", action="store_true", help="the entropy, too, is differentiated")
    parser.add_argument("--model", action="store_true", help="a whole model in front of the head")
    parser.add_argument("--child", nargs=2, metavar=("FORM", "SETUP"), help=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    asked = arguments.pop("child")
    if asked:
        print(json.dumps(child(asked[0], json.loads(asked[1]))))
        return
    found = table(arguments)
    print(shown(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
