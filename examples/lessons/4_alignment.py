# %% [markdown]
# # 4. Alignment
#
# A molecule far from everything has a natural zero of energy: an electron at rest, far away. A crystal without end has
# no "far away". This lesson shows why a density of states comes with an unknown shift, how `masked_dos` finds it, how
# clear that choice is, and what becomes of two shifts that are equally good.
#
# ## Why an absolute energy does not exist
#
# The energies ε of electrons are the eigenvalues of a matrix, the Hamiltonian H. Add the same energy c to every
# diagonal element, H + c·1: each eigenvalue rises by c, and the eigenvectors, which say where the electrons are, stay
# what they were. Nothing that can be measured in the bulk has changed. And c is indeed not known: it is the
# average of the electrostatic potential, a sum over charges that falls off so slowly with distance that in an
# endless crystal its value depends on how the crystal is imagined to end. Every code chooses one, and not the same.

# %%
import numpy as np

import refloss
from refloss import crystals, spectra
from refloss.plotting import style

rng = np.random.default_rng(4)
H = rng.normal(size=(6, 6))
H = H + H.T
c = 1.5
before, states = np.linalg.eigh(H)
after, moved_states = np.linalg.eigh(H + c * np.eye(6))
overlap = np.abs(np.sum(states * moved_states, axis=0))
print("each eigenvalue rises by", np.round(after - before, 12))
print("overlap of old and new eigenvectors:", np.round(overlap, 12))

# %% [markdown]
# ## What a shift costs
#
# The *density of states* (DOS) counts, at each energy, the states per electronvolt around it. Below, t is the target,
# silicon's DOS on a grid of N energies, dx apart (`grid.step`, in eV); the mask m is 1 where it can be trusted
# (lesson 3). The misfit of a prediction p is the integral of the squared difference where the mask is 1,
#
# $$D = dx \sum_i \omega_i \, m_i \, (p_i - t_i)^2,$$
#
# with the trapezoid rule's weights ω: 1/2 at both ends, 1 between. A prediction that is perfect but for its zero of
# energy, c too low, is compared point by point, as it stands:

# %%
grid = spectra.EnergyGrid(start=-14.0, step=0.05, points=480, extra=200)
bands, k_weights = crystals.SILICON.spectrum((8, 8, 8))
target = spectra.gaussian_dos(bands, k_weights, grid.targets)
mask = spectra.confidence_mask(bands, grid.targets)


def misfit(window):
    """D of N points of a prediction."""
    weights = np.where(np.isin(np.arange(window.size), (0, window.size - 1)), 0.5, 1.0)
    return grid.step * np.sum((weights * (window - target) ** 2)[mask])


nothing = misfit(np.zeros(grid.points))
for c in (0.0, 0.05, 0.2, 0.5, 1.0, 3.0):
    low = spectra.gaussian_dos(bands - c, k_weights, grid.targets)
    print(f"{c:4.2f} eV too low: D = {misfit(low):8.4f}, {misfit(low) / nothing:7.2%} of that of predicting no states")

# %% [markdown]
# The model knows everything but the zero, and yet it is soon judged hardly better than one that predicts no states at
# all. So the shift has to be taken out before anything is compared.
#
# ## The landscape
#
# A prediction therefore has E points more than its target, in front, at lower energies: N + E points. Its *window* at
# shift s is the N points a with a_i = p_{s+i}. There are E + 1 of them, and each has a misfit, D(s). The curve of
# D over s is the *landscape*; alignment takes its lowest point, and calls it s*. (It is two lines of NumPy. refloss
# gives the same curve, each point of it right to the last digit.) Shift E is the prediction where it was; a smaller one
# moves it up in energy, by (E − s) · dx.

# %%
c = 3.0
prediction = spectra.gaussian_dos(bands - c, k_weights, grid.predictions, width=0.35)
by_hand = np.array([misfit(prediction[s : s + grid.points]) for s in range(grid.extra + 1)])
result = refloss.masked_dos([prediction], [target], [mask], energy_grid=grid.targets)
landscape = result.landscape()[0]
assert np.allclose(by_hand, landscape, rtol=1e-12)
best = int(result.shift[0])
assert best == by_hand.argmin()
print(f"s* = {best} of 0 to {grid.extra}: the prediction is moved up by {(grid.extra - best) * grid.step:.2f} eV")
print(f"D(E) = {landscape[grid.extra]:.4f} before, D(s*) = {landscape[best]:.6f} after")

# %% [markdown]
# Because of this the loss is blind to c, which is what we want. It is not blind to the shape: this prediction has been
# broadened with a wider Gaussian, 0.35 eV instead of 0.3 eV, and that is the misfit that remains.
#
# ## How clear was it? Margin, runner-up, rival
#
# - The *runner-up* is the best of all other shifts, and the *margin* how much worse it is. On a fine grid the runner-up
#   is nearly always the neighbour of s*. Its margin tells how sharp the valley is: moving a DOS by one step changes
#   each point by dx · t′, where t′ is the slope, so the margin is about dx² times the integral of m t′² over energy.
# - The *rival* is the best *other valley*. It is what a wrong alignment would look like.

# %%
slope = np.gradient(target, grid.step)
estimate = grid.step**2 * np.sum(slope[mask] ** 2) * grid.step
rival = result.rival()
print(f"runner-up {result.runner_up[0]}, margin {result.margin[0]:.4f}; from the slope: about {estimate:.4f}")
print(f"rival {rival.shift[0]}, {rival.margin[0]:.2f} worse than the best")
assert abs(result.runner_up[0] - best) == 1
assert 0.5 < result.margin[0] / estimate < 2.0

# %% [markdown]
# Silicon is an easy case. Now take a DOS whose peaks form a ladder, each rung 2 eV above the last, with just one of
# them higher than the others, and a model that has hardly begun to learn that: in its prediction this rung is higher
# too, but only by a tenth of what it should be. Whichever rung falls on the high one, the misfit is nearly the same.
#
# The figure `lesson_4_landscapes.png` has silicon on the left and the ladder on the right. Above: the target, and the
# prediction where it was. Below: the landscape, with s* and the rival. Silicon has one valley that counts. The ladder
# has one every 2 eV, and all reach down to nearly the same level: what wins is decided by little.

# %%
rungs = np.arange(-28.0, 13.0, 2.0)[None]
high_rung = [[-4.0]]


def ladder(energies, zero, extra_height):
    """A DOS of one state on each rung, and a little more on the high one."""
    more = spectra.gaussian_dos(np.subtract(high_rung, zero), [extra_height], energies)
    return spectra.gaussian_dos(rungs - zero, [1.0], energies) + more


learning = ladder(grid.predictions, c, 0.02)
marked = ladder(grid.targets, 0.0, 0.2)
everywhere = np.ones(grid.points, bool)
unsure = refloss.masked_dos([learning], [marked], [everywhere], energy_grid=grid.targets)

with style.figure(None, (7.2, 4.6)) as figure:
    panels = figure.subplots(2, 2, height_ratios=(1, 1))
    for column, (name, one) in enumerate((("silicon", result), ("the ladder", unsure))):
        top, bottom = panels[:, column]
        top.fill_between(grid.targets, one.targets[0], color="#BBBBBB", label="target")
        top.plot(grid.predictions, one.predictions[0], color=style.VERMILLION, label="prediction, unaligned")
        top.set(title=name, xlabel="energy (eV)", ylabel="DOS (states/eV)", xlim=(-18, 8))
        top.set_ylim(top=1.35 * one.targets.max())
        top.legend(loc="upper left", ncols=2)
        curve, (other,) = one.landscape()[0], one.rival().shift
        bottom.plot(curve, color=style.BLUE)
        bottom.plot(
            one.shift, curve[one.shift], "o", color=style.VERMILLION, clip_on=False, label=f"s* = {one.shift[0]}"
        )
        bottom.plot(other, curve[other], "s", color=style.ORANGE, clip_on=False, label=f"rival {other}")
        bottom.set(xlabel="shift s (points of 0.05 eV)", ylabel="D(s) (states²/eV)", ylim=(0, 1.35 * curve.max()))
        bottom.legend(loc="upper left", ncols=2)
figure.savefig("lesson_4_landscapes.png", dpi=130)
print(f"ladder: s* = {unsure.shift[0]}, rival {unsure.rival().shift[0]}, worse by {unsure.rival().margin[0]:.4f}")
figure

# %% [markdown]
# ## Ties
#
# Two shifts can be equally good, and not only nearly. Mirror symmetry is enough: let the target, the mask and the
# prediction all read the same from both ends. Then the window at s is the mirror image of the window at E − s, and
# D(s) = D(E − s), exactly. In real numbers, that is: a computer adds in some order, and rounds after each addition. The
# mirrored sum is rounded otherwise, so which of the two comes out lower depends on the order of the additions, on the
# number type, and on chance. Below, the same two shifts of 200 symmetric predictions, summed in three ways:

# %%
N, E = 40, 9


def symmetric(points):
    half = rng.random(points // 2)
    return np.concatenate([half, rng.random(points % 2), half[::-1]])


p = np.array([symmetric(N + E) for _ in range(200)])
t = np.array([symmetric(N) for _ in range(200)])
m = np.ones(t.shape, bool)
ways = {
    "one after another": lambda f: np.cumsum(f, axis=-1)[..., -1],
    "from the other end": lambda f: np.cumsum(f[..., ::-1], axis=-1)[..., -1],
    "in float32": lambda f: np.cumsum(f.astype(np.float32), axis=-1)[..., -1],
}
w = np.ones(N)
w[[0, -1]] = 0.5
squares = np.stack([(w * (p[:, s : s + N] - t) ** 2) for s in range(E + 1)], axis=1)
exact = refloss.masked_dos(p, t, m)
for name, way in ways.items():
    D = way(squares)
    chosen = D.argmin(axis=1)
    print(f"{name:20}: the smaller of the two shifts in {np.sum(chosen < E - chosen)} of {len(p)}")
print(f"refloss: {exact.tied.sum()} tied, the smaller one in {np.sum(exact.shift < exact.runner_up)}")
assert exact.tied.all()
assert np.all(exact.shift + exact.runner_up == E)

# %% [markdown]
# refloss bounds the rounding errors of what it sums; where two shifts are closer to each other than that, it sums them
# in exact arithmetic. So `tied` is a fact and not an impression, and of equals the smallest shift is taken, by
# definition. When a port of yours disagrees with it in a shift, look at `tied` and `margin` first: at a tie, both may
# be right.
#
# ## What a near tie does to training
#
# Two valleys, A and B. Let the prediction go from one that fits at A to one that fits at B, and mix the two: a share λ
# of B, 1 − λ of A. The loss is the lower of two parabolas. It has no jump, but its *slope* does: at the crossing,
# alignment changes its mind, and the gradient, which until then pulled the model to A, pulls it to B. The figure
# `lesson_4_crossing.png` shows the loss above, the derivative by λ in the middle, and the shift below. The
# derivative is the sum over points of the gradient times (p_B − p_A); in a gradient the shift is a constant, so it
# does not know of the crossing. The small teeth are the same on a small scale: there the shift moves on to its
# neighbour.

# %%
low, high = (spectra.gaussian_dos(bands - c, k_weights, grid.predictions) for c in (4.0, 1.0))
shares = np.linspace(0.0, 1.0, 101)
mixed = np.array([(1 - share) * low + share * high for share in shares])
path = refloss.masked_dos(
    mixed, np.tile(target, (101, 1)), np.tile(mask, (101, 1)), energy_grid=grid.targets,
    grad_weight=0.0, int_weight=0.0, reduction="none", grad=True,
)  # fmt: skip
derivative = path.grad @ (high - low)
jump = int(np.abs(np.diff(path.shift)).argmax())
with style.figure(None, (6.0, 4.6)) as figure:
    panels = figure.subplots(3, 1, sharex=True)
    for panel, curve, label in zip(
        panels,
        (path.per_structure, derivative, path.shift),
        ("D (states²/eV)", "dD/dλ", "shift s*"),
        strict=True,
    ):
        panel.plot(shares[: jump + 1], curve[: jump + 1], color=style.BLUE)
        panel.plot(shares[jump + 1 :], curve[jump + 1 :], color=style.VERMILLION)
        panel.axvline(shares[jump : jump + 2].mean(), color=style.INK, lw=0.6, ls=":")
        panel.set_ylabel(label)
    panels[-1].set_xlabel("share λ of the other prediction")
figure.savefig("lesson_4_crossing.png", dpi=130)
print(f"between λ = {shares[jump]:.2f} and {shares[jump + 1]:.2f} the shift goes from {path.shift[jump]} to", end=" ")
print(f"{path.shift[jump + 1]}, and dD/dλ from {derivative[jump]:.2f} to {derivative[jump + 1]:.2f}")
assert derivative[jump] > 0 > derivative[jump + 1]
figure

# %% [markdown]
# A structure that sits there gets opposite gradients from one step to the next, and its loss hardly falls. A small
# rival margin marks such structures: `result.rival().margin` finds them in a batch.
#
# ## Exercise
#
# Take the first of the symmetric predictions, and move one of its numbers to the next larger float64, a change in the
# sixteenth digit. Is the alignment still tied? If not, how large is the margin, compared with the spacing of float64
# numbers at the size of D? Could a program that computes D(s) in float64 have noticed? (`np.nextafter` gives the
# neighbour, `np.spacing` the spacing.)

# %% [markdown]
# ## Answer
#
# It is not tied any more: D(s) and D(E − s) change by different amounts, since the number meets another point of the
# target in each. The margin is the difference of the two changes. It is printed below beside the spacing: where it is
# a fraction of it, the two values of D, rounded to float64, can be the same, and only exact arithmetic sees which
# is lower. In ten places of the prediction:

# %%
size = exact.landscape()[0, exact.shift[0]]
for j in range(E, E + 10):
    nudged = p[:1].copy()
    nudged[0, j] = np.nextafter(nudged[0, j], np.inf)
    one = refloss.masked_dos(nudged, t[:1], m[:1])
    margin = one.margin[0] / np.spacing(size)
    print(f"point {j}: tied {one.tied[0]}, shift {one.shift[0]}, margin {margin:.3f} spacings")
    assert not one.tied[0]
    assert margin < 1.0
