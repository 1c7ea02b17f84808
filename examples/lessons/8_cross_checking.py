# %% [markdown]
# # 8. Cross-checking an implementation
#
# You have written a loss again: for a GPU, in another language, or because the old one was slow. Is it right? This
# lesson writes `masked_dos` in float32, makes a usual mistake in it, and shows why a tolerance does not find it, what
# does, and how to read the verdict.
#
# ## The port
#
# The loss has three terms (lesson 5): the misfit D at the best shift, the unmasked gradient G, and the cumulative term
# C. Below they are in plain NumPy, structure by structure. Three of its pieces can be exchanged, so that we can put
# mistakes in: the trapezoid weights, the way to the squared error, and the choice among equals. The function takes and
# returns what `refloss.crosscheck` expects: predictions, targets, mask, and the parameters by name; the value, and with
# it as many other figures as it has.

# %%
from functools import partial

import numpy as np

import refloss
from refloss import crystals, spectra
from refloss.plotting import style


def half_at_the_ends(points):
    weights = np.ones(points, np.float32)
    weights[:1] -= 0.5
    weights[-1:] -= 0.5
    return weights


def difference_first(windows, target, weights):
    return (windows - target) ** 2 @ weights


def port(
    predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction,
    weights=half_at_the_ends, squared_error=difference_first, choose=np.argmin,
):  # fmt: skip
    dx, shifts, terms = np.float32(energy_step), [], []
    for p, t, m in zip(predictions, np.where(np.isnan(targets), 0, targets), mask, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(p, t.size)
        misfit = dx * squared_error(windows, t, weights(t.size) * m)
        s = int(choose(misfit))
        slope = np.zeros_like(p)
        slope[4:] = (3 * p[:-4] - 16 * p[1:-3] + 36 * p[2:-2] - 48 * p[3:-1] + 25 * p[4:]) / (12 * dx)
        first = max(4 - s, 0)  # the slope exists from the fifth point on
        steep, free = slope[s : s + t.size][first:], ~m[first:]
        error = windows[s] - t
        states = dx * np.cumsum((error[:-1] + error[1:]) / 2)
        shifts.append(s)
        unmasked_gradient = dx * (steep**2 @ (weights(steep.size) * free))
        cumulative = dx * (states**2 @ (weights(states.size) * m[1:]))
        terms.append((misfit[s], unmasked_gradient, cumulative))
    dos, unmasked_gradient, cumulative = np.array(terms, np.float32).T
    per_structure = dos + grad_weight * unmasked_gradient + int_weight * cumulative
    value = {"mean": per_structure.mean(), "sum": per_structure.sum(), "none": per_structure}[reduction]
    named = {"dos": dos, "unmasked_gradient": unmasked_gradient, "cumulative": cumulative}
    return {"value": value, "per_structure": per_structure, "shift": np.array(shifts), "terms": named}


# %% [markdown]
# The mistake: all weights of the trapezoid rule are 1, also those at the ends, which should be 1/2.

# %%
wrong_port = partial(port, weights=partial(np.ones, dtype=np.float32))

# %% [markdown]
# ## What a tolerance says
#
# The usual test takes an example, a reference and a tolerance: `np.allclose(found, expected, rtol=1e-5)`. The example
# here is silicon, with a prediction that is broadened and 0.5 eV too low; the reference is refloss.

# %%
grid = spectra.EnergyGrid(start=-16.0, step=0.05, points=640, extra=40)
bands, k_weights = crystals.SILICON.spectrum((8, 8, 8))
target = spectra.gaussian_dos(bands, k_weights, grid.targets)[None].astype(np.float32)
mask = spectra.confidence_mask(bands, grid.targets)[None]
prediction = spectra.gaussian_dos(bands - 0.5, k_weights, grid.predictions, width=0.35)[None].astype(np.float32)
parameters = {"energy_step": 0.05, "grad_weight": 1e-4, "int_weight": 2.0, "reduction": "mean"}
expected = refloss.masked_dos(prediction, target, mask, **parameters)

for name, function in (("the wrong port", wrong_port), ("the right port", port)):
    found = float(function(prediction, target, mask, **parameters)["value"])
    print(f"{name}: {found:.9g}, expected {expected.value:.9g}: {np.allclose(found, expected.value, rtol=1e-5)}")
assert np.allclose(wrong_port(prediction, target, mask, **parameters)["value"], expected.value, rtol=1e-5)

# %% [markdown]
# Both pass. Silicon's density of states is zero at both ends of this grid: the weights that are wrong meet zeros. The
# example is realistic, and blind for just that reason. A smaller tolerance is no way out, because it fails what is
# right. Take a flat density of states, as electrons in two dimensions have it, and a prediction with a small ripple. G
# is made of the slope of the ripple. To get it, numbers of the size of p, times up to 48, are added and nearly cancel;
# what remains is small, and the rounding errors are not. The errors of the *right* port:

# %%
flat = np.ones((1, grid.points), np.float32)
ripple = (1 + 1e-4 * np.sin(grid.predictions))[None].astype(np.float32)
below = (grid.targets < 0)[None]
exact = refloss.masked_dos(ripple, flat, below, **parameters).terms
rounded = port(ripple, flat, below, **parameters)["terms"]
for name, (found,) in rounded.items():
    true = getattr(exact, name)[0]
    print(f"{name:18} found {found:.6e}, exact {true:.6e}, relative error {abs(found - true) / true:.0e}")
assert not np.allclose(rounded["unmasked_gradient"], exact.unmasked_gradient, rtol=1e-5, atol=0)

# %% [markdown]
# ## A bound instead
#
# How far may a correct program be off? Each operation rounds by at most a share u of its result (lesson 7), so the
# error of a sum of products is at most about n u Σ |terms|, with n the number of operations that a term goes through.
# This follows the size of what is *added*, not of what comes out. So it is tight where nothing cancels, wide where much
# does, and says in each case which error rounding can explain. What it cannot explain is a mistake.
#
# `refloss.crosscheck` computes such a bound for every figure of every case, and has cases made to hit: all masks 0,
# batches of one, numbers of all sizes, exact ties, NaN where nothing is known. We ask it about the wrong port, and
# print the beginning of what it says:

# %%
wrong = refloss.crosscheck(wrong_port, "masked_dos", dtype="float32", convention="documented", name="the wrong port")
print("\n".join(wrong.summary().splitlines()[:16]))
assert not wrong.ok
assert "half weights missing" in wrong.explanation

# %% [markdown]
# The table counts verdicts, a line for each figure: *exact* and *expected* are right, *outside bound* is wrong. Then
# come the failures, with the case, what was found, what was expected, and how far off is allowed. And it tells the
# mistake: refloss computes what the usual ones would give, and names the one that fits. We mend it, and ask again.

# %%
right = refloss.crosscheck(port, "masked_dos", dtype="float32", name="the right port")
print(right.summary())
assert right.ok
assert right.convention == "documented"

# %% [markdown]
# This time without `convention`. There is more than one way to read this loss, and each has a name; the report says
# which one fits all cases, and which do not. It also says what was *not* judged, here the gradient: with arrays of
# torch or JAX it would come from autograd.
#
# ## Right, but
#
# A port for a GPU may well use the expanded square (lesson 7), as in:


# %%
def expanded(windows, target, weights):
    return windows**2 @ weights - 2 * (windows * target) @ weights + target**2 @ weights


costly = refloss.crosscheck(
    partial(port, squared_error=expanded), "masked_dos", dtype="float32", convention="documented", name="expanded"
)
print("\n".join(costly.summary().splitlines()[:3]))
assert costly.ok
assert costly.digits_lost > 3

# %% [markdown]
# That is no mistake: the formula is right, and so are its roundings. But it costs digits, and the report says how many.
#
# The figure `lesson_8_verdicts.png` shows all three reports: each dot is one figure of one case, the error over the
# bound, on a logarithmic scale. Below the line at 1, rounding explains it. (Errors of less than a thousandth of the
# bound are drawn at the lower edge.) Most dots of the right port lie well below, for roundings of random signs cancel.
# Those of the expanded square that lie above are within the wider bound of an expanded square. Those of the wrong port
# mostly lie beyond any bound, by factors of thousands.

# %%
with style.figure(None, (7.2, 3.0)) as figure:
    panels = figure.subplots(1, 3, sharey=True)
    for panel, report, colour in zip(
        panels, (right, costly, wrong), (style.BLUE, style.ORANGE, style.VERMILLION), strict=True
    ):
        number = {case.id: i for i, case in enumerate(report.cases)}
        found = np.array([(number[j.case], j.ratio) for j in report.judgements if np.isfinite(j.ratio)])
        panel.semilogy(found[:, 0], np.maximum(found[:, 1], 1e-3), ".", color=colour, ms=3, alpha=0.6)
        panel.axhline(1, color=style.INK, lw=0.8)
        panel.set(title=report.candidate, xlabel="case", ylim=(8e-4, 1e9))
    panels[0].set_ylabel("error / bound")
figure.savefig("lesson_8_verdicts.png", dpi=130)
ratios = np.array([j.ratio for j in right.judgements])
print(f"the right port: {np.mean(ratios == 0):.0%} of its figures without error, {np.mean(ratios > 1):.0%} above 1")
figure

# %% [markdown]
# ## In your project
#
# A test of your own is one line, `refloss.crosscheck(my_loss, "masked_dos", arrays="torch").raise_for_failures()`, or
# the command `refloss crosscheck my_port.py:my_loss --loss masked_dos --arrays torch --device cuda --html report.html`,
# whose page has every failure. Return as many figures as you can: with the terms and the shift, a mistake is found in
# the line that it is in. What is known to fail goes into a file for `xfails`, so that only news are reported.
#
# ## Exercise
#
# Let the port take the *last* of equally good shifts instead of the first (`choose`). The definition says the first.
# Will the report call it wrong? Think of what a float32 program can know about ties (lesson 4), then try.

# %% [markdown]
# ## Answer
#
# It is right, with the verdict *equivalent shift* in more cases than before. Where two objectives agree to rounding,
# no program that rounds can be asked to find the first: the next one that adds in another order would fail. The
# candidate is then judged at the shift that it took, with all its figures. What is asked is that they fit together.


# %%
def last(objective):
    return objective.size - 1 - np.argmin(objective[::-1])


other = refloss.crosscheck(
    partial(port, choose=last), "masked_dos", dtype="float32", convention="documented", name="the last of equals"
)
for report in (right, other):
    verdicts = [str(found["shift"]) for found in report.verdicts.values()]
    print(f"{report.candidate}: {'right' if report.ok else 'wrong'},", end=" ")
    print(f"{verdicts.count('equivalent_shift')} of {len(verdicts)} shifts equivalent")
assert other.ok
