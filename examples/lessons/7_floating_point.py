# %% [markdown]
# # 7. Floating point
#
# The better a model, the smaller its loss, and the more of that small number is rounding error, if the loss is computed
# without care. This lesson shows how much, why, and what to do about it.
#
# ## A number of 24 bits
#
# A floating-point number is a whole number of fixed length times a power of two. In float32 the whole number has 24
# bits, in float64 53. What does not fit is rounded away after every single operation, and the error is at most a share
# u of the result: u = 2⁻²⁴ in float32 and 2⁻⁵³ in float64, half the distance from 1 to the next number.

# %%
import math
from fractions import Fraction

import numpy as np

import refloss
from refloss import crystals, spectra
from refloss.plotting import style

U = {name: float(np.finfo(name).eps) / 2 for name in ("float16", "float32", "float64")}
for name, u in U.items():
    print(f"{name}: u = 2^{math.log2(u):.0f} = {u:.1e}")
print("16777216 + 1 in float32 is", int(np.float32(16777216) + np.float32(1)))

# %% [markdown]
# ## Two formulas, the same in real numbers
#
# The squared error of a prediction p of a target t, summed over points, can be written in two ways:
#
# $$\sum_i (p_i - t_i)^2 \;=\; \sum_i p_i^2 - 2 \sum_i p_i t_i + \sum_i t_i^2.$$
#
# The right-hand side, the *expanded square*, is popular where many shifts are to be tried (lesson 4): the middle sum
# is a convolution, which GPUs are quick at, and the other two are cheap. metatrain's `shift_agnostic_mse`
# does it, in float32.
#
# Let a model have a relative error ε: p = t (1 + ε z), with z a random number of size one. Then the true value is
# about ε² Σ t². Each of the three sums on the right is about Σ t², so each of them is rounded by about u Σ t², and no
# subtraction brings back what was rounded away. The relative error of the result is therefore about
#
# $$\frac{u \sum t^2}{\varepsilon^2 \sum t^2} = \frac{u}{\varepsilon^2},$$
#
# which reaches 1, no correct digit at all, at ε = √u. On the left-hand side nothing of the kind happens: p − t is even
# exact where p and t are within a factor of two of each other, since the difference of two neighbours in a list of
# floats needs no more digits than they have. We try both, on silicon's density of states, against the exact value of
# the same numbers, which is what refloss gives.

# %%
grid = spectra.EnergyGrid(start=-14.0, step=0.05, points=480, extra=0)
bands, k_weights = crystals.SILICON.spectrum((8, 8, 8))
t = spectra.gaussian_dos(bands, k_weights, grid.targets)
rng = np.random.default_rng(7)


def direct(p, t):
    return np.sum((p - t) ** 2)


def expanded(p, t):
    return np.sum(p * p) - 2 * np.sum(p * t) + np.sum(t * t)


def model(error, dtype):
    """A prediction with this relative error, and its target, as numbers of the type."""
    return (t * (1 + error * rng.normal(size=t.size))).astype(dtype), t.astype(dtype)


def off_by(formula, error, dtype, draws=25):
    """The median relative error of a formula."""
    found = []
    for _ in range(draws):
        p, q = model(error, dtype)
        exact = refloss.mse(p, q, reduction="sum").value
        found.append(abs(float(formula(p, q)) - exact) / exact)
    return float(np.median(found))


errors = np.logspace(-1, -6, 16)
kinds = [(formula, dtype) for formula in (direct, expanded) for dtype in ("float32", "float64")]
curves = {(f, dtype): [off_by(f, e, dtype) for e in errors] for f, dtype in kinds}
for dtype in ("float32", "float64"):
    print(f"{dtype}: √u = {math.sqrt(U[dtype]):.1e}")
for i in range(0, errors.size, 3):
    numbers = ", ".join(f"{f.__name__} {dtype} {curve[i]:.0e}" for (f, dtype), curve in curves.items())
    print(f"ε = {errors[i]:.0e}: {numbers}")

# %% [markdown]
# The figure `lesson_7_expanded.png` shows the relative error of the loss over the relative error ε of the model; models
# get better to the right. The dotted lines are u/ε². The direct form does not care how good the model is. The expanded
# form in float32 loses two digits whenever the model gains one, and past √u what it returns has nothing to do with
# the loss. (What lies on the lower edge is exact, or as good as.)

# %%
with style.figure(None, (6.4, 3.6)) as figure:
    panel = figure.add_subplot()
    looks = ((style.BLUE, "o"), (style.SKY, "s"), (style.VERMILLION, "^"), (style.ORANGE, "v"))
    for ((formula, dtype), curve), (colour, marker) in zip(curves.items(), looks, strict=True):
        panel.loglog(
            errors, np.maximum(curve, 1e-16), color=colour, marker=marker, label=f"{formula.__name__}, {dtype}"
        )
    for dtype in ("float32", "float64"):
        panel.loglog(errors, U[dtype] / errors**2, ":", color=style.INK, lw=0.8)
    panel.axhline(1, color=style.INK, lw=0.6)
    panel.set(xlabel="relative error ε of the model", ylabel="relative error of its loss", ylim=(1e-16, 1e6))
    panel.invert_xaxis()
    panel.legend(loc="upper left", ncols=2)
figure.savefig("lesson_7_expanded.png", dpi=130)
assert curves[expanded, "float32"][-1] > 1
assert max(curves[direct, "float32"]) < 10 * U["float32"]
figure

# %% [markdown]
# ## Worse than a wrong number
#
# The expanded form can also come out negative, which a sum of squares cannot be. Then it is usual to write
# max(value, 0), and the gradient of that is 0: the structure is not trained in this step, although its loss is
# not 0. How often that happens, among 400 good models of each kind, is printed here:

# %%
for error in (1e-3, 3e-4, 1e-4, 3e-5):
    values = np.array([float(expanded(*model(error, "float32"))) for _ in range(400)])
    print(f"ε = {error:.0e}: {np.mean(values <= 0):6.1%} have no gradient, {np.unique(values).size} different values")

# %% [markdown]
# The number of different values shows the grain: the sums are near each other on a coarse grid of float32 numbers,
# so their differences are multiples of its spacing.
#
# ## Long sums
#
# The direct form is off by a few u because NumPy adds cleverly: in pairs, pairs of pairs and so on, where each number
# goes through log₂ n additions. Added one after another, it goes through up to n of them, each with an error of
# up to u, and they add up: like n where they all have the same sign, like √n where signs are random. A loop on one
# thread of a GPU, or a plain loop in C, does just that.
#
# There is a remedy that costs a few operations: the error of an addition is itself a floating-point number, and can be
# computed exactly. *TwoSum* returns the rounded sum and its error:

# %%


def two_sum(a, b):
    """The rounded sum s, and e, with s + e = a + b exactly."""
    s = a + b
    of_b = s - a
    of_a = s - of_b
    return s, (a - of_a) + (b - of_b)


a, b = rng.normal(size=2)
s, e = two_sum(a, b)
print(f"{a} + {b} = {s} + {e}: {Fraction(a) + Fraction(b) == Fraction(s) + Fraction(e)}")
assert Fraction(a) + Fraction(b) == Fraction(s) + Fraction(e)


def compensated(x):
    """The sum along the last axis, the errors added up beside it."""
    total, carried = np.zeros_like(x[..., 0]), np.zeros_like(x[..., 0])
    for i in range(x.shape[-1]):
        total, error = two_sum(total, x[..., i])
        carried = carried + error
    return total + carried


ways = {
    "one after another": lambda x: np.cumsum(x, axis=-1)[..., -1],
    "in pairs (np.sum)": lambda x: np.sum(x, axis=-1),
    "compensated": compensated,
}
lengths = 10 ** np.arange(1, 6)
off = {name: [] for name in ways}
for n in lengths:
    x = rng.random((30, n)).astype(np.float32)
    exact = np.array([math.fsum(row.tolist()) for row in x])
    for name, way in ways.items():
        off[name].append(np.abs(way(x) - exact).max() / exact.mean())
for name, worst in off.items():
    print(f"{name:18}" + "".join(f"  n = {n}: {o:.0e}" for n, o in zip(lengths, worst, strict=True)))

# %% [markdown]
# The figure `lesson_7_sums.png` shows the largest relative error among 30 sums of n positive float32 numbers, over n,
# with dotted lines for u, u √n and u n. The compensated sum stays below u: it is as good as the exact sum, rounded
# once.

# %%
with style.figure(None, (6.4, 3.4)) as figure:
    panel = figure.add_subplot()
    for (name, worst), marker, colour in zip(
        off.items(), "^os", (style.VERMILLION, style.BLUE, style.ORANGE), strict=True
    ):
        panel.loglog(lengths, worst, marker=marker, color=colour, label=name)
    for power, label in ((0, "u"), (0.5, "u √n"), (1, "u n")):
        panel.loglog(lengths, U["float32"] * lengths**power, ":", color=style.INK, lw=0.8)
        panel.annotate(label, (lengths[-1], U["float32"] * lengths[-1] ** power), (4, -3), textcoords="offset points")
    panel.set(xlabel="length n of the sum", ylabel="largest relative error, float32")
    panel.legend(loc="upper left")
figure.savefig("lesson_7_sums.png", dpi=130)
assert max(off["compensated"]) <= U["float32"]
figure

# %% [markdown]
# ## And when that is not enough
#
# refloss carries the sum and its errors as a pair of float64 numbers, a *double-double* of 106 bits, and also
# a bound of what even that has rounded away. Terms of three magnitudes that cancel can defeat it. Where the bound
# does not prove that the digits are right, the figure is computed once more in exact arithmetic, as Python's
# `Fraction` does it. So it is never a matter of luck:

# %%
terms = np.array([1e40, 1e20, 1.0, -1e40, -1e20])
print(
    "plain:", np.sum(terms), " compensated:", compensated(terms), " exact:", float(sum(map(Fraction, terms.tolist())))
)

# %% [markdown]
# ## Exercise
#
# Mixed precision computes in float16 (u = 2⁻¹¹) or bfloat16 (u = 2⁻⁸). How good may a model be, in relative error,
# until the expanded square has lost its last digit? Compare with float16 numbers in NumPy, and say whether you would
# train with it.

# %% [markdown]
# ## Answer
#
# The last digit is gone at ε = √u, printed below. In float16 that is a model with an error of a few percent, in
# bfloat16 of several: nearly every model worth training. The measured errors in float16 agree; those of the direct form
# stay small. NumPy has no bfloat16, but nothing changes in the argument.

# %%
print(f"√u: float16 {math.sqrt(U['float16']):.1%}, bfloat16 {math.sqrt(2.0**-8):.1%}")
for error in (0.2, 0.05, 0.02, 0.01):
    both = [f"{form.__name__} {off_by(form, error, 'float16'):.1e}" for form in (direct, expanded)]
    print(f"ε = {error:.0%}: {both[0]}, {both[1]}")
assert off_by(expanded, 0.01, "float16") > 0.9
