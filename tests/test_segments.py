"""Segments are what single environments give for the same actions, and their advantages what a plain loop makes of them."""

from __future__ import annotations

import numpy
import pytest
import torch
from counting import ENDS, LENGTHS
from gathering import (
    ENVS,
    MODES,
    RULE,
    SEEDS,
    advantages,
    counted,
    gathered,
    replayed,
    segments,
    value,
)

from bench.control.paths import Paths, price
from tasks.cartpole import CartPole
from tasks.env import Autoreset


@pytest.mark.parametrize("mode", MODES)
def test_segments_are_what_single_environments_give(mode: Autoreset) -> None:
    """Three segments on end, so that episodes go on from one into the next."""
    parts = gathered(counted(mode), 3)
    for row in range(len(SEEDS)):
        for column in range(ENVS):
            steps = replayed(parts, row, column)
            here = [part.mask[row, column] for part in parts]
            for name in ("obs", "reward", "terminated"):
                found = torch.cat([getattr(part, name)[row, column][mask] for part, mask in zip(parts, here, strict=True)])
                assert found.tolist() == [list(x) if name == "obs" else x for x in (getattr(step, name) for step in steps)], name
            end = torch.cat([part.end[row, column][mask] for part, mask in zip(parts, here, strict=True)])
            assert end.tolist() == [step.terminated or step.truncated for step in steps]


@pytest.mark.parametrize("mode", MODES)
def test_advantages_in_segments_are_a_plain_loops(mode: Autoreset) -> None:
    """Over episodes that end, that a limit cuts, and that the end of the segment cuts."""
    trainer = counted(mode)
    parts, ends = gathered(trainer, 3), set()
    for row in range(len(SEEDS)):
        for column in range(ENVS):
            steps = replayed(parts, row, column)
            for part in parts:
                mask = part.mask[row, column]
                own, steps = steps[: int(mask.sum())], steps[int(mask.sum()) :]
                priced, wanted = price(RULE, part), advantages(trainer, row, own)
                assert priced.advantage[row, column][mask].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-3)
                assert priced.target is not None
                target = [a + value(trainer, row, step.obs) for a, step in zip(wanted, own, strict=True)]
                assert priced.target[row, column][mask].tolist() == pytest.approx(target, rel=1e-4, abs=1e-3)
                assert not priced.advantage[row, column][~mask].any() and not priced.weight[row, column][~mask].any()
                ends |= {"terminated" for step in own if step.terminated} | {"truncated" for step in own if step.truncated}
                ends |= set() if own[-1].terminated or own[-1].truncated else {"segment"}
    assert ends == {"terminated", "truncated", "segment"}


def test_autoreset_modes_give_the_same_advantages_for_the_same_episodes() -> None:
    """Of all episodes that lie within one segment in every mode."""
    each = []
    for mode in MODES:
        trainer = counted(mode)
        trainer.actor.sample = lambda obs, uniform, normal: (obs[..., 0] + 2 * obs[..., 1] + obs[..., 2]).long() % 3 % 2
        found: dict[tuple[int, ...], float] = {}
        for part in gathered(trainer, 4):
            advantage = price(RULE, part).advantage
            for place in whole(part):
                found[(*place[:2], *part.obs[place][:2].int().tolist())] = float(advantage[place])
        each.append(found)
    common = set.intersection(*(set(found) for found in each))
    assert len(common) > 40
    assert {ENDS[key[2] % 3] for key in common} == set(ENDS)
    for found in each[1:]:
        assert [found[key] for key in sorted(common)] == pytest.approx([each[0][key] for key in sorted(common)], rel=1e-4, abs=1e-3)


def whole(paths: Paths) -> list[tuple[int, int, int]]:
    """Seed, column and step of all transitions of episodes that begin and end in this segment."""
    found = []
    for row, column in numpy.ndindex(*paths.mask.shape[:2]):
        open_: list[int] = []
        for t in torch.nonzero(paths.mask[row, column]).flatten().tolist():
            open_.append(t)
            if paths.end[row, column, t]:
                if paths.obs[row, column, open_[0], 1] == 0:
                    found += [(row, column, at) for at in open_]
                open_ = []
    return found


@pytest.mark.parametrize("mode", MODES)
def test_truncated_paths_bootstrap_from_the_final_observation(mode: Autoreset) -> None:
    trainer = counted(mode)
    paths = gathered(trainer, 2)[1]
    assert paths.bootstrap is not None
    cut = paths.end & ~paths.terminated & paths.mask
    assert cut.any() and not paths.bootstrap[paths.terminated].any() and paths.terminated.any()
    for row, column, t in cut.nonzero().tolist():
        episode = int(paths.obs[row, column, t, 0])
        final = [episode, LENGTHS[episode % len(LENGTHS)], int(paths.action[row, column, t])]
        assert float(paths.bootstrap[row, column, t]) == pytest.approx(value(trainer, row, final), rel=1e-4)


def test_the_last_step_of_a_segment_bootstraps_from_the_state_that_the_next_one_begins_in() -> None:
    trainer = segments(CartPole())
    before, after = gathered(trainer, 2)
    assert before.bootstrap is not None and after.old_value is not None
    goes_on = ~before.end[:, :, -1]
    assert goes_on.any()
    torch.testing.assert_close(before.bootstrap[:, :, -1][goes_on], after.old_value[:, :, 0][goes_on])
