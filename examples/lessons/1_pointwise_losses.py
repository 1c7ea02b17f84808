# %% [markdown]
# # 1. Pointwise losses, and what their gradients do to an outlier
#
# A model is trained by asking, over and over: how wrong is it, and in which direction should each of its predictions
# move? The first answer is the value of a *loss*, the second its *gradient*. This lesson is about the three losses that
# look at one number at a time, and about one question that tells them apart: what happens when one of the reference
# numbers is simply wrong?
#
# A *structure* is some atoms with their positions; its *energy*, in electronvolts (eV), is what a quantum-mechanical
# calculation says that it takes to arrange them so. A model predicts the energy p, the calculation gives the target t,
# and d = p − t is the *residual*.

# %%
import numpy as np

import refloss
from refloss import crystals, plotting
from refloss.plotting import style

# %% [markdown]
# ## Three losses
#
# For n structures, numbered by i, each loss is a mean of one function of each residual, L = (1/n) Σ_i f(d_i):
#
# | name | f(d) | its derivative f′(d) |
# | --- | --- | --- |
# | `mse`, mean squared error | d² | 2d |
# | `mae`, mean absolute error | abs(d) | sign(d): −1, 0 or 1 |
# | `huber` | d²/2 where abs(d) ≤ δ, beyond it δ·(abs(d) − δ/2) | d, but never below −δ or above δ |
#
# The Huber loss is a compromise with a *knee* at δ, a positive number that we choose: a parabola for small residuals, a
# straight line for large ones, and at the knee neither the loss nor its derivative jumps. Figure `lesson_1_losses.png`
# shows all three on the left and their derivatives on the right.

# %%
DELTA = 0.1
figure = plotting.plot_pointwise(DELTA)
plotting.save(figure, "lesson_1_losses.png")
figure

# %% [markdown]
# The right-hand side is the one to remember. A model never sees the value of the loss; it sees ∂L/∂p_i = f′(d_i)/n, the
# *pull* on each prediction. The pull of `mse` grows with the residual without bounds. That of `mae` has one size
# whether the prediction is off by a lot or by a hair. That of `huber` grows at first and then stays.

# %% [markdown]
# ## Energies, one of which is wrong
#
# Silicon, stretched and compressed: its edges are changed by a fraction, the strain, and for each strain there is an
# energy, zero for the relaxed crystal. `crystals.SILICON.elastic()` knows it from a model of springs along and between
# the bonds. We add a little noise, since calculations have some, and then spoil one of them: it stopped before it was
# finished, and reports an energy that is much too high.

# %%
strains = np.linspace(-0.06, 0.06, 21)
truth = np.array([crystals.SILICON.strained(strain * np.eye(3)).elastic().energy for strain in strains])

rng = np.random.default_rng(7)
NOISE = 0.02
targets = truth + rng.normal(0.0, NOISE, strains.size)
BROKEN = 17
targets[BROKEN] += 1.5
print(f"energies from {truth.min():.2f} to {truth.max():.2f} eV, noise of {NOISE} eV")
print(f"structure {BROKEN}: found {targets[BROKEN]:.2f} eV, should be {truth[BROKEN]:.2f} eV")

# %% [markdown]
# ## A model, and what it hears of the loss
#
# The model is a cubic polynomial of the strain, p = Φw: row i of the matrix Φ has 1, x_i, x_i², x_i³, where x_i is the
# strain divided by the largest one, and w are four numbers to be learnt. That is enough to follow the true curve, as
# the code checks.
#
# By the chain rule, the gradient by the parameters is ∂L/∂w = Φᵀ ∂L/∂p. The second factor is what `refloss` returns
# when it is asked for `grad`; everything the model will ever learn of its targets comes through it. *Gradient descent*
# takes small steps against ∂L/∂w. Ours get smaller with time, because of `mae`: its pull does not fade near the
# minimum, and steps of a fixed length would jump to and fro across it for ever.

# %%
x = strains / strains.max()
features = x[:, None] ** np.arange(4)
best = features @ np.linalg.lstsq(features, truth)[0]
print(f"a cubic polynomial can follow the true curve to {np.abs(best - truth).max():.5f} eV")


def descend(loss, targets, steps=4000, rate=1.0, **options):
    """Return the parameters after gradient descent from 0; `rate` is the length of the first steps."""
    parameters = np.zeros(features.shape[1])
    for step in range(steps):
        pull = loss(features @ parameters, targets, grad=True, **options).grad
        parameters -= rate / (1 + step / 200) * features.T @ pull
    return parameters


LOSSES = {
    "mse": (refloss.mse, {}, style.BLUE, "--"),
    "mae": (refloss.mae, {}, style.INK, "-."),
    "huber": (refloss.huber, {"delta": DELTA}, style.VERMILLION, "-"),
}
# A pull of mae is 1/n even where the residual is a hair: its steps must be the shortest.
RATES = {"mse": 0.5, "mae": 0.1, "huber": 1.0}
fits = {
    name: features @ descend(loss, targets, rate=RATES[name], **options) for name, (loss, options, *_) in LOSSES.items()
}
for name, fit in fits.items():
    print(f"{name:6} is off the true curve by {np.abs(fit - truth).max():.3f} eV at most")

# %% [markdown]
# Figure `lesson_1_fits.png`, at the top: the same model, the same data, three losses. The curve of `mse` has been drawn
# towards the broken point, and pays for it where the data were good: look at both ends. The other two have hardly
# noticed.
#
# At the bottom is the reason. Put the model exactly on the true curve, where we would like it to stay, and ask each
# loss for its pulls. Bars are the share of each structure in the sum of the pulls' sizes. For `mse` the broken
# structure outvotes all the good ones together; for `mae` every structure has one vote.

# %%
with style.figure(None, (7.6, 5.0)) as figure:
    panels = figure.subplot_mosaic([["fit"] * 3, list(LOSSES)], height_ratios=[1.7, 1.0])
    top = panels["fit"]
    top.plot(strains, truth, color=style.SHADE, lw=5, label="truth")
    top.plot(strains, targets, "o", color=style.PURPLE, label="targets")
    share_at_truth = {}
    for name, (loss, options, colour, dashes) in LOSSES.items():
        top.plot(strains, fits[name], color=colour, ls=dashes, label=f"fit by {name}")
        pull = np.abs(loss(truth, targets, grad=True, **options).grad)
        share_at_truth[name] = pull / pull.sum()
        panels[name].bar(strains, share_at_truth[name], width=0.004, color=colour)
        panels[name].set(title=name, xlabel="strain", xticks=(-0.05, 0, 0.05), ylim=(0, 0.9))
    top.set(xlabel="strain", ylabel="energy (eV)")
    top.legend(ncols=2)
    panels["mse"].set_ylabel("share of all pulls")
plotting.save(figure, "lesson_1_fits.png")
for name, share in share_at_truth.items():
    print(f"{name:6}: the broken structure has {share[BROKEN]:.0%} of all pulls, one of {share.size} structures")
figure

# %% [markdown]
# ## How bad can it get?
#
# Let the broken energy be off by more and more. Figure `lesson_1_share.png` has its share of the pulls on the true
# curve. That of `mse` goes to 1: an error that is large enough is all that the model hears. That of `mae` stays where
# it was from the beginning. That of `huber` stops growing at the knee, where a residual no longer counts for more than
# δ.
#
# So is `mae` the best? It pays for its deafness: near the minimum, where residuals are noise, a parabola has the
# smaller scatter (the mean of n numbers with Gaussian noise is closer to the truth than their median), and its pull
# fades as the model gets better, so that descent comes to rest. `huber` is both, if δ is put where noise ends and
# mistakes begin: here it is several times the noise, as the next lines print.

# %%
errors = np.geomspace(0.01, 30, 60)
shares = {name: [] for name in LOSSES}
for error in errors:
    spoilt = targets.copy()
    spoilt[BROKEN] = truth[BROKEN] + error
    for name, (loss, options, *_) in LOSSES.items():
        pull = np.abs(loss(truth, spoilt, grad=True, **options).grad)
        shares[name].append(pull[BROKEN] / pull.sum())
with style.figure(None, (6.4, 3.0)) as figure:
    ax = figure.subplots()
    for name, (_, _, colour, dashes) in LOSSES.items():
        ax.semilogx(errors, shares[name], color=colour, ls=dashes, label=name)
    ax.axvline(DELTA, color=style.SHADE, ls=":", label="the knee, δ")
    ax.set(xlabel="error of one target (eV)", ylabel="its share of all pulls", ylim=(0, 1.02))
    ax.legend()
plotting.save(figure, "lesson_1_share.png")
print(f"δ / noise = {DELTA / NOISE:.0f}; with an error of {errors[-1]:.0f} eV the shares are")
print(", ".join(f"{name} {share[-1]:.1%}" for name, share in shares.items()))
figure

# %% [markdown]
# ## Exercise
#
# Take the simplest model there is: the same number c for every structure. Its five targets are 1.0, 1.1, 0.9, 1.2 and,
# by mistake, 11.0 eV. Where the loss is least, the pulls must add up to zero. Use that, and the table of derivatives,
# to find the best c for each of the three losses (take δ = 0.5 eV). Then change the 11.0 to 1001.0. Which of them move?

# %% [markdown]
# ## Answer
#
# - `mse`: Σ_i 2(c − t_i) = 0, so that c is the *mean*. It moves as far as the mistake, divided by five.
# - `mae`: as many targets above c as below, so that c is the *median*. It does not move.
# - `huber`: the broken target pulls with −δ, whatever its size, and the four others with c − t_i if all are nearer than
#   δ. Their sum, 4c − (1.0 + 1.1 + 0.9 + 1.2) − δ, is zero at the mean of the four plus δ/4. It does not move either.
#
# The code finds the same numbers without thinking, by trying many c.

# %%
candidates = np.linspace(0.0, 300.0, 300001)
for mistake in (11.0, 1001.0):
    few = np.array([1.0, 1.1, 0.9, 1.2, mistake])
    grid = np.broadcast_to(few, (candidates.size, few.size))
    tried = np.repeat(candidates[:, None], few.size, axis=1)
    found = {
        name: candidates[loss(tried, grid, reduction="none", **options).value.reshape(grid.shape).sum(axis=1).argmin()]
        for name, loss, options in (
            ("mse", refloss.mse, {}),
            ("mae", refloss.mae, {}),
            ("huber", refloss.huber, {"delta": 0.5}),
        )
    }
    print(f"mistake {mistake:6}: " + ", ".join(f"{name} {c:.3f}" for name, c in found.items()))
    by_hand = few.mean(), np.median(few), few[:4].mean() + 0.5 / 4
    print("         by hand: " + ", ".join(f"{name} {c:.3f}" for name, c in zip(found, by_hand, strict=True)))
