# %% [markdown]
# # 9. The batch-axis bug, found
#
# A loss function can be wrong for months without anybody noticing: it is positive, it falls, the model learns. Here is
# such a case from practice, and how to find it without knowing the right number: by asking for what must be so
# whatever the numbers are.
#
# The suspect is the loss of densities of states as metatrain 2026.1 to 2026.2.1 computed it. The release before,
# 2025.12, and the loss that came after, up to 2026.4.1, have the same flaw. refloss computes it too, under the name of
# the release, in order to check against it.
#
# ## The scene
#
# A batch is B structures that are evaluated together. The loss of a batch is the mean of the losses of its structures:
#
# $$L = \frac{1}{B} \sum_{b=1}^{B} \left( D_b + F_b + w_G G_b + w_C C_b \right)$$
#
# D is the misfit at the best shift, F the square of what is predicted below the target's first energy, G how uneven the
# prediction is where nothing is known, and C the squared error of the number of states up to each energy, each
# integrated over energy; w_G and w_C are weights (lesson 5). Each depends on structure b alone: on its prediction, its
# target and its mask, which is 1 where the target counts.
#
# We take eight crystals with different masks, and predictions that are broadened, stretched by 1 % and 0.5 eV too low.

# %%
import numpy as np

import refloss
from refloss import crystals, plain, spectra
from refloss.plotting import style

grid = spectra.EnergyGrid(start=-14.0, step=0.05, points=480, extra=40)
dx = grid.step
names, rows = [], []
for crystal in crystals.data_set(8):
    bands, k_weights = crystal.spectrum(crystal.mesh())
    prediction = spectra.gaussian_dos(1.01 * bands - 0.5, k_weights, grid.predictions, width=0.35)
    target = spectra.gaussian_dos(bands, k_weights, grid.targets)
    rows.append((prediction, target, spectra.confidence_mask(bands, grid.targets)))
    names.append(f"{crystal.name} {crystal.formula}")
predictions, targets, masks = (np.array(column) for column in zip(*rows, strict=True))


def evaluate(chosen, convention, **weights):
    """The loss of a batch: the structures whose numbers are in `chosen`, in this order."""
    return refloss.masked_dos(predictions[chosen], targets[chosen], masks[chosen], convention=convention, **weights)


SUSPECT, REFERENCE = "metatrain-2026.2", "intended"
everyone = np.arange(len(names))

# %% [markdown]
# ## Questions whose answers are known
#
# Nobody knows what L should be for these crystals. But as it is a mean over structures, this we know:
#
# 1. *Order.* A mean does not depend on the order of what it is of.
# 2. *Copies.* With every structure twice in the batch, the mean is the same.
# 3. *Parts.* The mean of a batch is the mean over its structures, each evaluated alone.
#
# Tests of this kind need no reference, and work for any code. The largest relative change of L, for the suspect and for
# the same loss as it is meant:

# %%
shuffled = np.random.default_rng(9).permutation(everyone)


def answers(convention, **weights):
    """How much L changes, relative to L, in each of the three tests."""
    whole = evaluate(everyone, convention, **weights).value
    alone = np.mean([evaluate([b], convention, **weights).value for b in everyone])
    changed = {
        "order": evaluate(shuffled, convention, **weights).value,
        "copies": evaluate(np.repeat(everyone, 2), convention, **weights).value,
        "parts": alone,
    }
    return {question: abs(value - whole) / whole for question, value in changed.items()}


for convention in (SUSPECT, REFERENCE):
    told = ", ".join(f"{question} {change:.1e}" for question, change in answers(convention).items())
    print(f"{convention:16} {told}")
assert max(answers(REFERENCE).values()) < 1e-14
assert min(answers(SUSPECT).values()) > 1e-6

# %% [markdown]
# The suspect fails every one. (A change of 1e-16 is rounding, lesson 7; one of 1e-3 is not.)
#
# ## Which term?
#
# Switch the terms off, one after the other, and ask again:

# %%
for switched_off in ({"int_weight": 0.0}, {"grad_weight": 0.0}):
    told = ", ".join(f"{question} {change:.1e}" for question, change in answers(SUSPECT, **switched_off).items())
    print(f"{SUSPECT}, {switched_off}: {told}")
assert max(answers(SUSPECT, int_weight=0.0).values()) < 1e-14

# %% [markdown]
# Without `int_weight`, the weight of C, all is well. It is the cumulative term.
#
# Now make the batch as small as can be. A batch of one structure has no order and no company:

# %%
for convention in (SUSPECT, REFERENCE):
    print(f"{convention:16} C of one structure: {evaluate([0], convention).terms.cumulative[0]:.3g}")
for copies in (1, 2, 4, 8):
    print(f"{copies} copies of it: mean C {evaluate([0] * copies, SUSPECT).terms.cumulative.mean():.3g}")
assert evaluate([0], SUSPECT).terms.cumulative[0] == 0.0

# %% [markdown]
# Exactly 0 for one structure, and then in proportion to the number of copies less one: 1, 3, 7. An integral by the
# trapezoid rule, over one point, is 0; over B equal points it is B − 1 times the value. So the trapezoid rule runs over
# the batch!
#
# ## The mechanism
#
# Arrays of different shapes *broadcast*: shapes are compared from the right, and an axis of length 1, or a missing one,
# is repeated. Let c be the error of the number of states up to each energy: one number for each structure and each of
# the N energies but the first, of shape (B, N − 1). (`refloss.plain` has the formulas as short functions of NumPy.) If
# the mask comes with an axis more than it should, as (B, 1, N − 1), then the product has three axes, and no error is
# raised:

# %%
print("shapes:", (8, 479), "times", (8, 1, 479), "gives", np.broadcast_shapes((8, 479), (8, 1, 479)))
result = evaluate(everyone, SUSPECT)
window, m = result.aligned, masks[:, 1:]
c = np.array([plain.cumulative_trapezoid(a - t, dx) for a, t in zip(window, targets, strict=True)])


def trapezoid(f, axis):
    """The integral of f along one axis by the trapezoid rule."""
    weights = plain.trapezoid_weights(f.shape[axis])
    return dx * np.moveaxis(f, axis, -1) @ weights


wrong = trapezoid(c**2 * m[:, None], axis=1).mean()  # (B, B, N - 1): axis 1 is the batch, not the energy
right = trapezoid(c**2 * m, axis=1).mean()  # (B, N - 1): axis 1 is the energy
for name, by_hand, convention in (("with the axis too many", wrong, SUSPECT), ("without", right, REFERENCE)):
    golden = evaluate(everyone, convention).terms.cumulative.mean()
    print(f"{name}: {by_hand:.12e}; refloss, {convention}: {golden:.12e}")
    assert np.isclose(by_hand, golden, rtol=1e-12)

# %% [markdown]
# One axis too many, `[:, None]`, and both figures are explained to the last digit printed. In the wrong array,
# element (i, b, k) is the error of structure b at energy k times the mask of structure *i*: every mask meets every
# error.
#
# ## What it does
#
# The figure `lesson_9_batch.png` has, on the left, the mean of C over the number of copies of one structure in the
# batch: it should be a horizontal line. On the right is C of each structure in the batch of eight, in the order above
# and with the first crystal moved to the middle: the first and the last one of a batch have the trapezoid's half
# weight. So their C changes by a factor of two, on a whim of the data loader.

# %%
moved = np.array([1, 2, 3, 0, 4, 5, 6, 7])
with style.figure(None, (7.2, 3.2)) as figure:
    left, right_panel = figure.subplots(1, 2, width_ratios=(2, 3))
    sizes = np.array([1, 2, 4, 8, 16, 32])
    for convention, colour, marker in ((SUSPECT, style.VERMILLION, "^"), (REFERENCE, style.BLUE, "o")):
        means = [evaluate(np.zeros(size, int), convention).terms.cumulative.mean() for size in sizes]
        left.loglog(sizes, np.maximum(means, 1e-5), color=colour, marker=marker, label=convention)
    left.annotate("exactly 0", (1, 1e-5), (8, 6), textcoords="offset points")
    left.set(xlabel="copies of one structure in the batch", ylabel="mean C (states² eV)", ylim=(1e-5, 3))
    left.set_xticks(sizes, sizes)
    left.minorticks_off()
    left.legend(loc="upper left")
    heights = evaluate(everyone, SUSPECT).terms.cumulative, np.empty(len(names))
    heights[1][moved] = evaluate(moved, SUSPECT).terms.cumulative
    for k, (values, colour, label) in enumerate(
        zip(heights, (style.VERMILLION, style.SKY), ("order above", "first one moved"), strict=True)
    ):
        right_panel.bar(everyone + 0.4 * k - 0.2, values, 0.4, color=colour, label=label, hatch="//" * k, ec="white")
    right_panel.set(ylabel=f"C of each, {SUSPECT}")
    right_panel.set_xticks(everyone, names, rotation=40, ha="right", fontsize=7)
    right_panel.legend(loc="upper right")
figure.savefig("lesson_9_batch.png", dpi=120)
figure

# %% [markdown]
# And there is worse. A mask says up to where a target can be trusted. As masks of other structures are applied to its
# error, a structure is trained on what its own mask excludes. The figure `lesson_9_masks.png` shows it for the
# structure with the shortest mask: above, its target and its prediction, the masked-out part hatched; below, the
# gradient of C by the prediction, for the suspect in the batch and as it is meant, each divided by its largest value.
# To the right of the mask's edge there should be none.

# %%
shortest = int(masks.sum(axis=1).argmin())


def gradient_of_c(convention):
    """The gradient of C at the points of the window of this structure: of a doubled weight less that of the single."""
    single, double = (evaluate(everyone, convention, int_weight=weight, grad=True) for weight in (2.0, 4.0))
    first = single.shift[shortest]
    return (double.grad - single.grad)[shortest, first : first + grid.points]


edge = grid.targets[masks[shortest]][-1]
with style.figure(None, (6.4, 4.0)) as figure:
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.fill_between(grid.targets, targets[shortest], color="#BBBBBB", label="target")
    top.plot(grid.targets, window[shortest], color=style.PURPLE, label="prediction, aligned")
    top.set(ylabel="DOS (states/eV)", title=names[shortest])
    top.legend()
    for convention, colour, dashes in ((SUSPECT, style.VERMILLION, "--"), (REFERENCE, style.BLUE, "-")):
        slope = gradient_of_c(convention)
        outside = np.abs(slope[~masks[shortest]]).sum() / np.abs(slope).sum()
        print(f"{convention:16} {outside:.1%} of the gradient of C beyond the mask of {names[shortest]}")
        bottom.plot(grid.targets, slope / np.abs(slope).max(), dashes, color=colour, label=convention)
    bottom.set(xlabel="energy (eV)", ylabel="∂C/∂p, scaled")
    bottom.legend()
    for panel in (top, bottom):
        style.shade(panel, np.array([[edge, grid.targets[-1]]]))
figure.savefig("lesson_9_masks.png", dpi=130)
assert np.abs(gradient_of_c(SUSPECT)[~masks[shortest]]).max() > 0
assert not gradient_of_c(REFERENCE)[~masks[shortest]].any()
figure

# %% [markdown]
# ## What to take home
#
# - Test what must hold whatever the numbers are: order, copies, parts; that numbers under a false mask do not matter;
#   that a factor in all inputs comes out as its square. Each is a line of code, and needs no reference.
# - Test with several structures, with different masks, and not with batches of one: there this bug is a plain 0.
# - Give the axes of a test different lengths. With B = N many wrong broadcasts raise no error.
# - Where a reference exists, compare with it, term by term: the next best thing to finding a bug is to be told which
#   line it is in (lesson 8).
#
# ## Exercise
#
# Work out C of structure b as the suspect has it, from the wrong array: sum over i and k, integrate over b. How does
# the mean over a batch of B copies of one structure compare with the right C? From which batch size on is it too large?

# %% [markdown]
# ## Answer
#
# Collect what belongs to structure b: with ω the trapezoid weights over the *batch*, and M_k = Σ_i m_ik the number of
# structures whose mask is 1 at energy k,
#
# $$C_b = \frac{\omega_b \, dx}{N - 1} \sum_k c_{bk}^2 M_k.$$
#
# For B copies M_k = B m_k, and the ω add up to B − 1, so the mean is (B − 1)/(N − 1) times dx Σ c² m, which is the
# right C (but for its half weights at the two ends). The term is too small until B is about N, the number of energies:
# with 4606 of them, as PET-MAD-DOS has, and batches of a few structures, it is as good as switched off. The check:

# %%
weights = plain.trapezoid_weights(len(names))
formula = weights * dx / (grid.points - 1) * (c**2 @ m.sum(axis=0))
assert np.allclose(formula, result.terms.cumulative, rtol=1e-12)
one = evaluate([0], REFERENCE).terms.cumulative[0]
for copies in (2, 8, 32):
    ratio = evaluate([0] * copies, SUSPECT).terms.cumulative.mean() / one
    print(f"{copies} copies: {ratio:.5f} of the right C; (B - 1)/(N - 1) = {(copies - 1) / (grid.points - 1):.5f}")
