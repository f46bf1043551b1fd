"""The page of exported plans against the programs that it is about: its snippets, as they stand there."""

import re
import sys
import types

import numpy as np
import pytest
from examples import README, examples

from mdm_jax import plans

PAGE = (README.parent / "mdm_jax/theory/plans/EXPORT.md").read_text(encoding="utf-8")
LLADA, DIFFUSERS = re.findall(r"^```py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PLANS = [plans.Plan(np.array(sizes), name="plan") for sizes in ([1, 2, 5], [9, 1, 3, 3], [16], [1] * 7)]
MASK = 11


def defined(name, **names):
    """What an example of the page defines, without what it prints."""
    exec(re.sub(r"^print\(.*\)$", "", examples(PAGE)[name].code, flags=re.MULTILINE), names)
    return names


@pytest.mark.core
def test_llada_s_snippet_runs_with_a_loop_like_its_own(monkeypatch):
    page, found = defined("llada"), {}

    def generate(model, prompt, steps, gen_length, block_length, remasking):
        draw = np.random.default_rng(1)
        counts = page["generate"](host.get_num_transfer_tokens, 3, gen_length, block_length, steps, draw)
        found.update(model=model, prompt=prompt, remasking=remasking, counts=counts.tolist())

    host: types.ModuleType | types.SimpleNamespace = types.SimpleNamespace(generate=generate)
    monkeypatch.setitem(sys.modules, "generate", host)
    exec(LLADA, {**page, "model": "a model", "prompt": "a prompt"})
    assert found.pop("counts") == page["plan"].sizes.tolist() * 4
    assert found == {"model": "a model", "prompt": "a prompt", "remasking": "random"}


@pytest.mark.core
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_what_dllm_rounds_is_the_plan_at_any_length(plan):
    page = defined("dllm", np=np, plan=plan)
    assert page["transfers"](page["PlanScheduler"](plan), plan.length, plan.steps) == plan.sizes.tolist()
    for masks in (1, 2, 3, plan.length // 2, 3 * plan.length):
        assert sum(page["transfers"](page["PlanScheduler"](plan), masks, plan.steps)) == masks


@pytest.mark.core
def test_ratios_give_the_plans_masks_in_single_precision():
    """All plans of two steps for 24 tokens, and some of four; diffusers works in float32."""
    two = [(first, 24 - first) for first in range(1, 24)]
    four = [(first, second, 2, 22 - first - second) for first in range(1, 9) for second in range(1, 9)]
    for sizes in two + four:
        plan = plans.Plan(np.array(sizes), name="plan")
        ratio, left = defined("amused", np=np, plan=plan)["ratio"], 24
        for step, size in enumerate(sizes[:-1]):
            left -= size
            linear = np.float32(1) - np.float32(step + 1) / np.float32(plan.steps)
            assert np.floor(np.float32(24) * (np.float32(ratio(plan, step)) * linear)) == left


@pytest.mark.thorough
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_block_refinement_reveals_the_plans_sizes(plan):
    pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    names = {"plan": plan}
    exec(DIFFUSERS, names)
    scheduler, generator = names["scheduler"], torch.Generator().manual_seed(0)
    tokens, counts = torch.full((3, plan.length), MASK), []
    for step in range(len(scheduler.timesteps)):
        before = tokens == MASK
        logits = torch.randn((3, plan.length, MASK), generator=generator)
        tokens = scheduler.step(
            logits, step, tokens, mask_token_id=MASK, temperature=1.0, generator=generator
        ).prev_sample
        counts.append((before & (tokens != MASK)).sum(1).tolist())
    assert counts == [[size] * 3 for size in plan.sizes.tolist()]


@pytest.mark.thorough
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_amused_reveals_the_plans_sizes(plan):
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    ratio, generator = defined("amused", np=np, plan=plan)["ratio"], torch.Generator().manual_seed(0)
    scheduler = diffusers.AmusedScheduler(mask_token_id=MASK, masking_schedule="linear")
    scheduler.set_timesteps(plan.steps)
    tokens, counts = torch.full((3, plan.length), MASK), []
    for step, time in enumerate(scheduler.timesteps):
        before = (tokens == MASK).sum(1)
        logits = torch.randn((3, plan.length, MASK), generator=generator)
        out = scheduler.step(logits, time, tokens, starting_mask_ratio=ratio(plan, step), generator=generator)
        tokens = out.prev_sample
        counts.append((before - (tokens == MASK).sum(1)).tolist())
    assert counts == [[size] * 3 for size in plan.sizes.tolist()]
