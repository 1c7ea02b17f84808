# %% [markdown]
# # 5. The three terms
#
# `masked_dos` adds up three terms. To learn what each is for, we take it away and look at what goes wrong. There is no
# model in this lesson: the prediction itself, a number for each energy, goes down the gradient of the loss. What a
# model would make of the same gradient depends on the model; where it is pushed to does not.
#
# ## The terms
#
# The target t and the mask m have N points, dx eV apart; the prediction p has more, in front, and a is its window at
# the best shift (lesson 4). m is 1 where the target can be trusted, and 0 above (lesson 3). With the trapezoid weights
# ω (1/2 at both ends, 1 between),
#
# $$D = dx \sum_i \omega_i \, m_i \, (a_i - t_i)^2 \qquad
# G = dx \sum_i \omega_i \, (1 - m_i) \, g_i^2 \qquad
# C = dx \sum_i \omega_i \, m_i \, c_i^2$$
#
# - **D**, the misfit: the density, point by point.
# - **G**, the unmasked gradient: g is the slope of p over energy, by a difference of five points. It counts only where
#   the mask is 0: nothing is known there, but that a DOS is smooth.
# - **C**, the cumulative term: c_i is the integral of a − t from the first point to point i, the number of states up to
#   that energy, predicted less true. (It decides how many electrons fit below an energy, and so the Fermi level.)
#
# The loss is D + w_G G + w_C C, with the weights 1e-4 and 2 unless others are given.

# %%
import numpy as np

import refloss
from refloss import crystals, spectra
from refloss.plotting import style

W_G, W_C = 1e-4, 2.0
grid = spectra.EnergyGrid(start=-14.0, step=0.05, points=440, extra=30)
bands, k_weights = crystals.SILICON.spectrum((8, 8, 8))
target = spectra.gaussian_dos(bands, k_weights, grid.targets)
mask = spectra.confidence_mask(bands, grid.targets)
print(f"{mask.sum()} of {grid.points} points count, up to {grid.targets[mask].max():.2f} eV")

# %% [markdown]
# ## The start, and the descent
#
# The start is a bad guess, made to be wrong in three ways: broadened far too much (a width of 1 eV instead of 0.3 eV),
# with a tenth of the states missing, and with noise. Four copies of it go down at the same time. One feels all terms;
# in each of the others one term is switched off. To take the gradient apart, we ask for three: of D alone, of D and G,
# of D and C. The differences are what the other two terms add.
#
# Gradient descent replaces p by p − η · ∂loss/∂p, again and again. It is stable while the step η is below 2/κ, where κ
# is the largest curvature of the loss: the largest eigenvalue of H, the matrix of its second derivatives. At a fixed
# shift the loss is a square, so towards a target of zeros the gradient at v is H v. Multiply some v by H, make it
# as long as before, and so on: v turns to the eigenvector of κ, and its growth to κ. (There is but one shift
# to choose where a prediction has as many points as its target.) All four descend with η = 1/κ of the whole loss, so
# that nothing but the terms differs.

# %%
TERMS = ("D", "G", "C")
variants = {"all three": "DGC", "without D": "GC", "without G": "DC", "without C": "DG"}
switches = np.array([[term in kept for term in TERMS] for kept in variants.values()], float)
rng = np.random.default_rng(5)
start = 0.9 * spectra.gaussian_dos(bands, k_weights, grid.predictions, width=1.0)
start += 0.25 * rng.normal(size=start.size)


def slopes(predictions, target=target):
    """The gradients of D, w_G G and w_C C, (3, B, points), and the result that has the terms themselves."""
    targets, masks = (np.tile(row, (len(predictions), 1)) for row in (target, mask))
    data = {"targets": targets, "mask": masks, "energy_step": grid.step, "reduction": "none", "grad": True}
    alone, with_g, with_c = (
        refloss.masked_dos(predictions, **data, grad_weight=g, int_weight=c)
        for g, c in ((0.0, 0.0), (W_G, 0.0), (0.0, W_C))
    )
    return np.stack([alone.grad, with_g.grad - alone.grad, with_c.grad - alone.grad]), alone


def curvature(switch):
    """κ of the terms that are switched on."""
    v = rng.normal(size=grid.points)
    for _ in range(40):
        v /= np.linalg.norm(v)
        v = switch @ slopes(v[None], np.zeros(grid.points))[0][:, 0]
    return np.linalg.norm(v)


kappa = {name: curvature(switch) for name, switch in zip(variants, switches, strict=True)}
eta = 1 / kappa["all three"]
for name, value in kappa.items():
    print(f"{name}: κ = {value:.3g}")

# %% [markdown]
# Nearly all of the curvature is that of C: a constant error in the density adds up to an error in the number of states
# that grows along the whole axis. So C decides how large a step may be, and it is errors of one sign over a wide
# stretch that it sees best. D sees each point alone. Now the descent, with four frames kept of it:

# %%
FRAMES = (0, 30, 300, 3000)
predictions = np.tile(start, (len(variants), 1))
frames, history, shifts = {}, [], []
for step in range(FRAMES[-1] + 1):
    parts, result = slopes(predictions)
    history.append([result.terms.dos, result.terms.unmasked_gradient, result.terms.cumulative])
    shifts.append(result.shift)
    if step in FRAMES:
        frames[step] = result.aligned
    predictions = predictions - eta * np.einsum("vt,tvp->vp", switches, parts)
history = np.array(history)

print("shifts at the start and at the end:", shifts[0], shifts[-1])
for step in FRAMES:
    print(f"after {step} steps" + "".join(f"{term:>12}" for term in TERMS) + "  states missing")
    for v, name in enumerate(variants):
        missing = grid.step * np.sum((target - frames[step][v])[mask])
        print(f"  {name:12}" + "".join(f"{value:12.3g}" for value in history[step, :, v]) + f"{missing:12.4f}")

# %% [markdown]
# ## The film
#
# The figure `lesson_5_film.png` is the film strip: a row for each variant, and the steps from left to right. The target
# is grey; the hatched part is masked out.
#
# - **All three.** First the wide errors go, and the missing states come back; then the rest, point by point. Above the
#   mask, the prediction becomes smooth.
# - **Without D.** The number of states below any energy is nearly right, and yet the density is a bad one. Noise that
#   goes up and down adds up to next to nothing: C hardly sees it, and hardly touches it.
# - **Without G.** Where the mask is 0 nothing pulls. The noise that was there at the start is there at the end.
# - **Without C.** Each point goes to its target at the same pace, whatever its neighbours do. The error keeps its shape
#   and shrinks, and the missing states come back only with the last of it.

# %%
with style.figure(None, (7.2, 6.0)) as figure:
    panels = figure.subplots(len(variants), len(FRAMES), sharex=True, sharey=True)
    for v, name in enumerate(variants):
        for panel, step in zip(panels[v], FRAMES, strict=True):
            panel.fill_between(grid.targets, target, color="#BBBBBB")
            style.shade(panel, np.array([[grid.targets[mask][-1], grid.targets[-1]]]))
            panel.plot(grid.targets, frames[step][v], color=style.BLUE, lw=0.7)
            if v == 0:
                panel.set_title(f"step {step}")
        panels[v, 0].set_ylabel(f"{name}\nDOS (states/eV)")
    panels[0, 0].set(xlim=grid.targets[[0, -1]], ylim=(-0.7, 3.2))
    figure.supxlabel("energy (eV)", fontsize=9)
figure.savefig("lesson_5_film.png", dpi=100)
figure

# %% [markdown]
# The figure `lesson_5_terms.png` follows each term through the descent, on logarithmic axes.
#
# - D has hardly begun to fall when C, where it is on, has lost most of itself: in the very first step, which is as long
#   as the curvature of C allows, the error that has one sign all along is gone. Then all parts of the error shrink at
#   the pace of D, by a share of 2 dx η at each step; after one over that share, in steps, the curves bend.
# - G falls only where it is on.
# - With G, D stops at a small value. The difference of five points that makes G reaches back over the mask's edge, so
#   it pulls a little at the last points that count too. In a sum of terms, none of them gets all it wants.

# %%
with style.figure(None, (7.2, 2.7)) as figure:
    for column, (panel, term) in enumerate(zip(figure.subplots(1, 3), TERMS, strict=True)):
        looks = (("-", style.BLUE), ("--", style.VERMILLION), ("-.", style.ORANGE), (":", style.INK))
        for v, (name, (dashes, colour)) in enumerate(zip(variants, looks, strict=True)):
            panel.loglog(1 + np.arange(len(history)), history[:, column, v], dashes, color=colour, label=name)
        panel.set(title=term, xlabel="1 + step")
    figure.axes[0].set_ylabel("term, before its weight")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
figure.savefig("lesson_5_terms.png", dpi=130)

drop = history[0, 2, 0] / history[1, 2, 0]
print(f"the first step divides C by {drop:.1f}; the curves bend at about {1 / (2 * grid.step * eta):.0f} steps")
print(f"at the end D is {history[-1, 0, 0]:.2g} with G, and {history[-1, 0, 2]:.2g} without")
assert drop > 3
assert history[-1, 1, 2] > 0.9 * history[0, 1, 2]
assert history[-1, 0, 1] > 0.1 * history[0, 0, 1]
figure

# %% [markdown]
# ## Exercise
#
# C made the steps short. Let the variant without C go with the η = 1/κ of its own terms, and count its steps until D
# is below a hundredth of what it was at the start. How many does the whole loss take, with its own η? Is C then worth
# having? Compare the states that are missing at that moment.

# %% [markdown]
# ## Answer
#
# The steps come roughly in the ratio of the two κ. In plain descent C is dear: the loss with it is *ill-conditioned*,
# flat in some directions and steep in others, as the printed κ say. At the same misfit, though, fewer states are
# missing with C. That is what it is for: among errors of the same size, it prefers those that cancel. Optimisers that
# scale each parameter's step, as Adam does, pay less of the price.

# %%
for name in ("all three", "without C"):
    switch, p, steps = switches[list(variants).index(name)], start[None], 0
    parts, result = slopes(p)
    while result.terms.dos[0] > history[0, 0, 0] / 100:
        p, steps = p - np.tensordot(switch, parts, 1) / kappa[name], steps + 1
        parts, result = slopes(p)
    missing = grid.step * np.sum((target - result.aligned[0])[mask])
    print(f"{name}: κ = {kappa[name]:.3g}, {steps} steps, {missing:+.4f} states missing")
