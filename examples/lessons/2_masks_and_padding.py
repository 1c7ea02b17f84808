# %% [markdown]
# # 2. Masks and padding, and why a mean over everything is wrong
#
# Arrays are rectangular, data are not. Structures have different numbers of atoms, and a calculation may know a curve
# only in part. So arrays are filled up, and a *mask* says what is real: m = 1 where an element counts, 0 where it does
# not. This lesson shows what goes wrong where the mask is forgotten, or is used as a factor, and which mean is meant.
#
# With residuals d = p − t (prediction minus target, lesson 1) the masked mean squared error is
#
#     L = (1/n) Σ d²   over the elements with m = 1,   n = how many these are.
#
# Two things matter in this line: what is masked out is *left out* of the sum, and the sum is divided by n, not by the
# size of the array. Its gradient is 2d/n where m = 1, and 0 elsewhere.

# %%
import numpy as np

import refloss
from refloss import crystals, plotting, spectra
from refloss.plotting import style

# %% [markdown]
# ## A batch of forces
#
# The *force* on an atom is a vector, three numbers in eV/Å (electronvolts per ångström): how strongly, and where to,
# the atom is drawn. Here are eight small crystals, slightly deformed, with the forces of a model of springs, and
# predictions of them that are wrong by random numbers. Of each crystal we keep arrays of the shape (atoms, 3).

# %%
rng = np.random.default_rng(3)
targets = [crystal.elastic().forces for crystal in crystals.data_set(8, seed=1)]
predictions = [forces + rng.normal(0.0, 0.1 + 0.05 * i, forces.shape) for i, forces in enumerate(targets)]
atoms = [len(forces) for forces in targets]
print("atoms:", *atoms)

# %% [markdown]
# To make one array of them, we choose a width, at least the number of atoms of the largest, and fill the missing rows
# with zeros: *padding*. The mask remembers which rows are real.


# %%
def padded(arrays, width, fill=0.0):
    """Return the arrays, each (atoms, 3), as one of shape (structures, width, 3)."""
    filled = np.full((len(arrays), width, 3), fill)
    for row, array in zip(filled, arrays, strict=True):
        row[: len(array)] = array
    return filled


def mean_over_everything(p, t):
    return np.mean((p - t) ** 2)


truth = refloss.mse(np.concatenate(predictions), np.concatenate(targets)).value
print(f"without padding:                 {truth:.6f} (eV/Å)²")
widths = np.arange(max(atoms), 65)
naive, masked = [], []
for width in widths:
    p, t = padded(predictions, width), padded(targets, width)
    mask = padded([np.ones_like(forces) for forces in targets], width)
    naive.append(mean_over_everything(p, t))
    masked.append(refloss.mse(p, t, mask=mask).value)
print(f"mean over everything, width {widths[0]:3}: {naive[0]:.6f}")
print(f"mean over everything, width {widths[-1]:3}: {naive[-1]:.6f}")
print(f"masked, any width:               {masked[0]:.6f}, and {len(set(masked))} different value(s)")

# %% [markdown]
# The predictions are the same in every line, and so are their errors. But the mean over everything gets smaller as
# there is more padding, because zeros agree with zeros perfectly. Figure `lesson_2_padding.png` has, on the left, the
# mask of the batch at its smallest width, and on the right the two losses over the width.
#
# A loss that falls because somebody has put a large crystal into the batch is bad enough to look at. Worse, the
# gradient falls with it: the same crystal teaches the model less when its neighbours in the batch are large. Who is in
# a batch is drawn by lot, so that this is noise on the learning rate. And our padding was kind: a real model predicts
# *something* for a row that is not an atom, and a mean over everything would train it to predict zero there.

# %%
with style.figure(None, (7.6, 3.0)) as figure:
    left, right = figure.subplots(1, 2)
    rows = padded([np.ones_like(forces) for forces in targets], max(atoms))[:, :, 0]
    left.pcolormesh(
        np.arange(max(atoms)), np.arange(len(atoms)), rows, cmap="Greys", vmin=0, vmax=1.6, edgecolors="white", lw=1.0
    )
    left.set(xlabel="row of the array (atom)", ylabel="structure", title="dark: atoms, white: padding")
    right.plot(widths, naive, color=style.VERMILLION, ls="--", label="mean over everything")
    right.plot(widths, masked, color=style.BLUE, label="masked mean")
    right.axhline(truth, color=style.SHADE, lw=5, zorder=0, label="without padding")
    right.set(xlabel="width of the padded array", ylabel="mse of the forces ((eV/Å)²)", ylim=(0, 1.1 * truth))
    right.legend()
plotting.save(figure, "lesson_2_padding.png")
figure

# %% [markdown]
# ## A mask is not a factor
#
# It is tempting to write Σ m·d² and be done. With numbers in the padding that works. But a padded value may be
# anything: not-a-number (NaN), which many file formats use for *unknown*, or an overflow. And zero times NaN is NaN. To
# leave out means never to look.

# %%
p, t = padded(predictions, 16), padded(targets, 16, fill=np.nan)
mask = ~np.isnan(t)
print(f"as a factor: {np.sum(mask * (p - t) ** 2) / mask.sum()}")
left_out = refloss.mse(p, t, mask=mask, grad=True)
print(f"left out:    {left_out.value:.6f}, with {left_out.count} of {mask.size} elements")
print(f"largest gradient in the padding: {np.abs(left_out.grad[~mask]).max()}")

# %% [markdown]
# (In a framework with automatic differentiation there is a second trap. `where(mask, (p − t)², 0)` has the right value,
# but going backwards it multiplies the zero that arrives by the derivative 2(p − t), which is NaN. Replace the target
# first, `where(mask, t, p)`, and then square.)
#
# ## Which mean?
#
# There are two honest means over a batch of unequal structures: over all elements that count, or first over each
# structure and then over the structures. In the first, a structure has as many votes as it has atoms; in the second,
# one. They are different losses, and neither is wrong. Options for training, and `refloss`, mean the first.

# %%
per_structure = [refloss.mse(p, t).value for p, t in zip(predictions, targets, strict=True)]
print(f"mean over all elements: {truth:.6f}")
print(f"mean of means:          {np.mean(per_structure):.6f}")
print(f"mean of means, weighted by atoms: {np.average(per_structure, weights=atoms):.6f}")

# %% [markdown]
# ## What is not known
#
# The second use of a mask has nothing to do with padding. A *density of states* (DOS) is a curve g(E): between the
# energies E and E + dE a crystal has g(E)·dE states for its electrons. (Lesson 3 makes one; here a curve is enough.) A
# calculation asks for a number of states, from the lowest upwards, and above the last of them its curve drops to zero,
# not because there are no states, but because nobody has asked.
#
# Below is silicon's DOS from all of its states, which is the *truth*, and from those of its lowest seven *bands* only
# (they are groups of states, one above the other, of which this model of silicon has ten), which is the *target* that
# we have been given. The mask is 1 up to where the seven bands are sure to be complete.

# %%
# The energies of the states, a column for each band, and how much each row counts: lesson 3 explains both.
states, weights = crystals.SILICON.spectrum((8, 8, 8))
energies = np.arange(-16.0, 14.0, 0.05)
complete = spectra.gaussian_dos(states, weights, energies)
target = spectra.gaussian_dos(states[:, :7], weights, energies)
mask = spectra.confidence_mask(states[:, :7], energies)

# A model that is perfect: it predicts the truth. What do the losses say to it?
everything = refloss.mse(complete, target, grad=True)
known = refloss.mse(complete, target, mask=mask, grad=True)
print(f"the mask ends at {energies[mask].max():.2f} eV: {known.count} of {energies.size} points count")
print(f"a perfect model has the loss {everything.value:.3g} over everything, {known.value:.3g} where it is known")

# %% [markdown]
# The top of figure `lesson_2_unknown.png` shows both curves, and hatched what is masked out. At the bottom are the
# gradients of the two losses, ∂L/∂p at each energy. Descent goes against them: the loss over everything pulls a perfect
# prediction down to the target, where there are states, and would have to be obeyed for the loss to fall. The masked
# one leaves it in peace. (Its loss is not quite 0: the tails of the missing states reach below the end of the mask, by
# as little as the line above says.)

# %%
with style.figure(None, (6.6, 4.2)) as figure:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1.0])
    top.plot(energies, complete, color=style.INK, label="truth, and a perfect prediction")
    top.plot(energies, target, color=style.BLUE, ls="--", label="target: seven bands")
    unknown = np.array([[energies[mask].max(), energies.max()]])
    style.shade(top, unknown, "masked out")
    style.shade(bottom, unknown)
    top.set(ylabel="DOS (states/eV)", xlim=(energies.min(), energies.max()), ylim=(0, None))
    top.legend(loc="upper left")
    bottom.plot(energies, everything.grad, color=style.VERMILLION, label="mean over everything")
    bottom.plot(energies, known.grad, color=style.BLUE, ls="--", label="masked mean")
    bottom.set(xlabel="energy (eV)", ylabel="∂L/∂p")
    bottom.legend(loc="upper left")
plotting.save(figure, "lesson_2_unknown.png")
figure

# %% [markdown]
# Being left in peace is not the same as being right. Where the mask is 0 the loss says nothing, and a model may predict
# any nonsense there; lesson 5 is about the term of `masked_dos` that asks it at least to be smooth.

# %% [markdown]
# ## Exercise
#
# A colleague sums over the mask correctly, but divides by the size of the padded array. "It is only a constant factor,"
# they say, "the learning rate takes care of that." Draw batches of four structures from a set of crystals, pad each to
# its largest, and find the factor by which the colleague's loss is off in each. Is it a constant?

# %% [markdown]
# ## Answer
#
# The factor is n divided by the size of the array: the share of elements that are real. It depends on the batch. Only
# if all structures had the same number of atoms, or if every batch were the whole set, would it be one number that a
# learning rate could take care of.

# %%
sizes = np.array([len(crystal.species) for crystal in crystals.data_set(24)])
factors = []
for _ in range(1000):
    batch = rng.choice(sizes, 4, replace=False)
    factors.append(batch.sum() / (batch.size * batch.max()))
print(f"crystals of {sizes.min()} to {sizes.max()} atoms: factors from {min(factors):.2f} to {max(factors):.2f}")
