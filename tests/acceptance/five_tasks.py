"""The five commonest tasks with nothing but the front door: train, understand, tune, sample, judge."""

import mdm_jax as mdm

key = mdm.key(0)

# Train: tokens of your own are a task from a spec ("text:book.txt", "npy:tokens.npy") or any object with these arrays.
task = mdm.tasks.text(length=32)
model = mdm.models.transformer(task.vocab_size, width=16, depth=1, heads=1)
run = mdm.fit(model, task, steps=4, directory="run", progress=False)
assert mdm.load("run").step == run.step == 4

# Understand: what energy does a schedule have, and where does it fall?
weight = mdm.schedules.beta(0.5, 0.5)
assert mdm.energies.kinetic(mdm.schedules.sine(), weight) > mdm.energies.kinetic(weight, weight)
found = mdm.energies.minimise(mdm.energies.kinetic, mdm.schedules.beta(0.9, 0.6))  # gradients to the paper's optimum
assert abs(found.schedule.a - 1) + abs(found.schedule.b - 1) < 0.01

# Tune: the best eight steps for this model, without sampling.
profile = mdm.estimate_profile(model, run.params, task.validation, 64, key=key)
best = mdm.plans.optimal(profile, steps=8)
uniform = mdm.plans.uniform(32, 8)
assert profile.expected_nelbo(best.sizes) <= profile.expected_nelbo(uniform.sizes)
tuned = mdm.tune(profile, [8], grid=4)
assert tuned.plans[8]["optimal"].steps <= 8

# Sample: by a plan, by a grid, by a rule that looks.
out = mdm.sample(model, run.params, best, rows=2, key=key)
assert out.tokens.shape == (2, 32)
assert out.nfe.max() == best.steps
for sampler in (mdm.grids.uniform(8), mdm.rules.surest(best), mdm.presets.eb(bound=0.5)):
    assert mdm.sample(model, run.params, sampler, rows=2, length=32, key=key).remaining.max() == 0
print(task.show(out.tokens[0]))

# Judge: many samplers on common random numbers, and a race for the best of one order.
table = mdm.evaluate(model, run.params, {"best": best, "uniform": uniform}, 2, task.score, key=key)
print(table.table())
found = mdm.race(
    model, run.params, task.score, 32, 4, key=key, lower_is_better=task.lower_is_better,
    search=mdm.evaluation.Halving(grid=2, samples=2, final_samples=2),
)  # fmt: skip
assert found.plan.steps <= 4
axes = mdm.plot.profile(profile, best)
axes.figure.savefig("profile.png")
