# %% [markdown]
# # 3. From eigenvalues to a density of states
#
# In quantum mechanics an electron cannot have any energy it likes. The energies that it can have are the eigenvalues of
# a matrix, and a *density of states* (DOS) tells how densely they lie: g(E) dE of them are between E and E + dE. It
# decides whether a material conducts, what colour it has, how much heat it takes. This lesson makes one, from a matrix
# to the curve and the mask that `masked_dos` compares. Energies are in electronvolts (eV), densities in states/eV.

# %%
import numpy as np

from refloss import crystals, plotting, spectra
from refloss.plotting import style

# %% [markdown]
# ## From levels to a band
#
# Put n atoms in a ring, each with one place for an electron. Alone, each would have the energy 0; but an electron can
# hop to either neighbour, with a strength h (an energy). The matrix H of this system has −h where two atoms are
# neighbours and 0 elsewhere. Its n eigenvalues are the energies of the n *states* of the ring.
#
# For a ring the eigenvectors are known: waves, whose value on atom j is exp(2πi k j). Going once around must lead back
# to the beginning, so that k = 0, 1/n, 2/n, …; the energy is ε(k) = −2h cos(2πk). More atoms do not make the energies
# spread further, they only fill in the same curve, which is called a *band*. That is why a crystal of 10²³ atoms can be
# computed at all: take one cell of it, and a few values of k, the *k-points*, to stand for all of them.

# %%
HOPPING = 1.0


def ring(atoms):
    """Return the energies of a ring of three or more atoms, in increasing order."""
    neighbours = np.roll(np.eye(atoms), 1, axis=0)
    return np.linalg.eigvalsh(-HOPPING * (neighbours + neighbours.T))


def band(k):
    return -2 * HOPPING * np.cos(2 * np.pi * k)


for atoms in (3, 12, 100):
    difference = np.abs(ring(atoms) - np.sort(band(np.arange(atoms) / atoms))).max()
    print(f"ring of {atoms:3}: eigenvalues of the matrix and the band's differ by {difference:.0e} eV")

with style.figure(None, (7.6, 3.0)) as figure:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.2])
    for place, atoms in enumerate((3, 6, 12, 24, 48)):
        left.hlines(ring(atoms), place - 0.4, place + 0.4, color=style.BLUE, lw=0.8)
    left.set(xlabel="atoms in the ring", ylabel="energy (eV)", xticks=range(5), xticklabels=(3, 6, 12, 24, 48))
    fine = np.linspace(-0.5, 0.5, 201)
    coarse = np.arange(-6, 6) / 12
    right.plot(fine, band(fine), color=style.SHADE, lw=3, label="the band")
    right.plot(coarse, band(coarse), "o", color=style.BLUE, label="a ring of 12")
    right.set(xlabel="k")
    right.legend(loc="lower right")
plotting.save(figure, "lesson_3_levels.png")
figure

# %% [markdown]
# Figure `lesson_3_levels.png` shows it: on the left the levels of rings of more and more atoms, on the right the band,
# with the twelve states of a ring of 12 on it. (k and k + 1 are the same wave, so one may as well draw k from −1/2 to
# 1/2.) Most lines on the left are two states at once, one from either side of the band. They lie closer where the band
# is flat, at its bottom and its top.
#
# ## Weights
#
# The band is the same at k and −k (a wave that runs left costs as much as one that runs right). So a program computes
# only one of the two, and gives it twice the weight. k = 0 and k = 1/2 are their own opposites and keep theirs. And
# each state has room for two electrons, of opposite *spin*: here, weights of all k-points sum to 2, which counts both.
# If w_k is the weight and ε_kn is the n-th eigenvalue at k (in a crystal there are several bands), then
#
#     g(E) = Σ_k w_k Σ_n δ(E − ε_kn)
#
# where δ(E) is a spike of area 1 at 0: the area under g is the number of states in one cell. `crystals.uniform_mesh`
# makes k-points and weights in this way; a mesh of (12, 1, 1) has twelve along the first of three directions, and for a
# ring that is the only one.

# %%
kept, weights = crystals.uniform_mesh((12, 1, 1))
print("k:      ", *(f"{k:6.3f}" for k in kept[:, 0]))
print("weight: ", *(f"{w:6.3f}" for w in weights), f"  sum {weights.sum():.0f}")

energies = np.arange(-4.0, 4.0, 0.01)
every = np.arange(12) / 12
all_twelve = spectra.gaussian_dos(band(every)[:, None], np.full(12, 2 / 12), energies)
half = spectra.gaussian_dos(band(kept[:, :1]), weights, energies)
forgotten = spectra.gaussian_dos(band(kept[:, :1]), np.full(weights.size, 2 / weights.size), energies)
print(f"highest DOS: {all_twelve.max():.3f} states/eV")
print(f"with weights, half of the k-points are off by {np.abs(half - all_twelve).max():.1e}")
print(f"without weights, by {np.abs(forgotten - all_twelve).max():.3f}")

# %% [markdown]
# Weights that were forgotten are a usual mistake, and one that no shape of an array gives away.
#
# ## Smearing
#
# Spikes cannot be drawn, or learnt. In their place we put Gaussians of the standard deviation σ, the *smearing*:
#
#     g(E) = Σ_k w_k Σ_n exp(−(E − ε_kn)² / (2σ²)) / (σ √(2π))
#
# which is what `spectra.gaussian_dos` did above. They have area 1 too, so that states are only moved about a little.
# How wide? For the ring there is something to compare with, the DOS for infinitely many atoms, which follows from the
# slope of the band: g(E) = (2/π) / √(4h² − E²) between −2h and 2h, infinite at both ends.

# %%
inside = np.abs(energies) < 2 * HOPPING
exact = np.zeros(energies.size)
exact[inside] = 2 / np.pi / np.sqrt(4 * HOPPING**2 - energies[inside] ** 2)

trials = [(12, 0.03), (12, 0.3), (200, 0.03), (200, 0.3)]
with style.figure(None, (7.6, 4.2)) as figure:
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (points, width) in zip(panels.flat, trials, strict=True):
        kpoints, w = crystals.uniform_mesh((points, 1, 1))
        smeared = spectra.gaussian_dos(band(kpoints[:, :1]), w, energies, width)
        ax.plot(energies, exact, color=style.SHADE, lw=3, label="infinitely many")
        ax.plot(energies, smeared, color=style.BLUE, label="smeared")
        ax.set(title=f"{points} k-points, σ = {width} eV", ylim=(0, 2.5))
        gap = np.diff(np.sort(band(kpoints[:, 0]))).max()
        area = np.trapezoid(smeared, energies)
        print(f"{points:3} k-points, σ = {width:4} eV: states at most {gap:.3f} eV apart, area {area:.6f}")
    panels[0, 1].legend(loc="upper center")
    for ax in panels[:, 0]:
        ax.set_ylabel("DOS (states/eV)")
    for ax in panels[1]:
        ax.set_xlabel("energy (eV)")
plotting.save(figure, "lesson_3_smearing.png")
figure

# %% [markdown]
# Figure `lesson_3_smearing.png`: with few k-points and a small σ (top left) one sees the k-points, and not the
# material. With many k-points and a small σ (bottom left) the curve is right but for the ends. A large σ (right) hides
# how few k-points there are, and rounds off what is sharp. So σ must be about as large as the distances between the
# states, and k-points must be dense enough to allow a small one. Data sets fix σ once, for all structures: a model
# cannot know what σ a target was made with.
#
# For a real crystal there is nothing exact to compare with, but we can take more k-points until nothing changes. (n³ in
# the lines below means n along each of three directions.) Silicon has two atoms in its cell, and ten bands in the model
# that is used here. With the σ of the data set PET-MAD-DOS:

# %%
energies = np.arange(-16.0, 14.0, 0.05)
finest = spectra.gaussian_dos(*crystals.SILICON.spectrum((16, 16, 16)), energies)
print(f"σ = {spectra.WIDTH} eV")
for mesh in (2, 4, 6, 8, 12):
    states, weights = crystals.SILICON.spectrum((mesh, mesh, mesh))
    off = np.abs(spectra.gaussian_dos(states, weights, energies) - finest).max() / finest.max()
    print(f"{mesh:2}³ k-points: {len(states):4} kept, off by {off:.2%} of the highest peak")

# %% [markdown]
# ## Up to where is it true?
#
# A program computes the lowest eigenvalues only, because each of them costs time: so many bands at every k-point.
# Suppose it computes seven of silicon's ten. At each k-point the seventh band ends somewhere else. Up to the lowest of
# these ends, every k-point has contributed all it has; above it, some have run out, and the DOS is too low by nobody
# knows how much. And since Gaussians have tails, missing states already lower the curve a little below that energy: one
# stays away from it by a *margin*, of three σ. The mask is
#
#     m(E) = 1   where   E ≤ min over k of the highest band at k, less the margin.

# %%
states, weights = crystals.SILICON.spectrum((8, 8, 8))
BANDS = 7
complete = spectra.gaussian_dos(states, weights, energies)
target = spectra.gaussian_dos(states[:, :BANDS], weights, energies)
lowest_end = states[:, BANDS - 1].min()
mask = spectra.confidence_mask(states[:, :BANDS], energies)
end = lowest_end - spectra.MARGIN
print(f"the lowest end of band {BANDS} is at {lowest_end:.2f} eV; the mask ends at {end:.2f} eV")
for margin in (0.0, spectra.MARGIN):
    trusted = spectra.confidence_mask(states[:, :BANDS], energies, margin)
    error = np.abs(complete - target)[trusted].max() / complete.max()
    print(f"margin {margin} eV: the target is off by {error:.1e} of the highest peak at most")
print(f"everywhere: by {np.abs(complete - target).max() / complete.max():.1e}")

# From the point L of silicon's reciprocal cell to its centre, Γ, and on to the point X.
s = np.linspace(0.0, 0.5, 60)
path = np.concatenate([s[::-1, None] * [1, 1, 1], s[1:, None] * [1, 1, 0]])
bands = crystals.SILICON.bands(path)
with style.figure(None, (6.6, 4.0)) as figure:
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot(bands[:, :BANDS], color=style.BLUE)
    left.plot(bands[:, BANDS:], color=style.INK, ls=":")
    left.set(ylabel="energy (eV)", xticks=(0, s.size - 1, 2 * s.size - 2), xticklabels=("L", "Γ", "X"), xlabel="k")
    left.margins(x=0)
    right.plot(complete, energies, color=style.INK, ls=":", label="all ten bands")
    right.plot(target, energies, color=style.BLUE, label="the seven that were computed")
    right.set(xlabel="DOS (states/eV)", xlim=(0, None))
    for ax in (left, right):
        ax.axhline(lowest_end, color=style.VERMILLION, ls="--", lw=1.0, label="lowest end of the seventh band")
        ax.axhspan(end, energies.max(), color=style.SHADE, alpha=0.4, lw=0, label="masked out")
        ax.set_ylim(energies.min(), energies.max())
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=2)
plotting.save(figure, "lesson_3_mask.png")
figure

# %% [markdown]
# Figure `lesson_3_mask.png`: on the left silicon's bands along a line of k-points (L, Γ and X are names of special
# ones), those that were computed as solid lines, the others dotted; on the right, at the same energies, the DOS of
# either. The curves part above the dashed line, and the grey, where the mask is 0, begins a margin below it. Note how
# much of the computed bands is above the line: those states are right, and yet they are of no use, since others beside
# them are missing.
#
# What has been made here, `target`, `mask` and their grid of energies, is what `masked_dos` takes. What it does with
# them, and why it must first shift a prediction, is the subject of lesson 4.

# %% [markdown]
# ## Exercise
#
# Silicon's two atoms have four outer electrons each, eight in a cell, and they fill the lowest states. Above the last
# filled band there is an interval without states, the *gap*. Count the states below the middle of the gap: by adding up
# weights, and by the area under the DOS up to there. Why does the second disagree with eight, and what makes it agree?

# %% [markdown]
# ## Answer
#
# Each band holds the sum of the weights, two electrons, so eight electrons fill four bands. Adding up the weights of
# the states below the middle of the gap gives eight, but for rounding. The area under the DOS has lost the tails of the
# Gaussians that reach up across the middle, and has gained the tails that reach down from above it; those do not
# cancel, because there are more states on one side than on the other. A smaller σ mends it, if there is a gap that is
# wide enough for it.

# %%
middle = (states[:, 3].max() + states[:, 4].min()) / 2
print(f"on this mesh of k-points the gap is {states[:, 4].min() - states[:, 3].max():.3f} eV wide")
print(f"by weights: {(weights[:, None] * (states < middle)).sum():.6f} electrons")
below = np.linspace(-20.0, middle, 20001)
for width in (0.3, 0.1, 0.05):
    area = np.trapezoid(spectra.gaussian_dos(states, weights, below, width), below)
    print(f"by the area, σ = {width:4} eV: {area:.6f}")
