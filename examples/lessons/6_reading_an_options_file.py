# %% [markdown]
# # 6. Reading an options file
#
# A model has several *targets*: an energy, with forces and stresses, a density of states. Each has a loss of its own,
# and training lowers one number, the weighted sum
#
#     total = Σ weight · value   over all terms.
#
# Which terms there are, of which type, with which weight, stands in the `loss` section of an options file. It is short,
# because much is left out and filled in by rules. This lesson goes from such a file to the number, and asks what a
# weight means. The options are those of the training program metatrain; `refloss` reads the same files.

# %%
import tempfile
from pathlib import Path

import numpy as np

import refloss
from refloss import demo, plotting
from refloss.options import dump
from refloss.plotting import style


def read(text):
    """Return the loss section of an options file with this text, as `refloss.load_options` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "options.yaml"
        path.write_text(text, encoding="utf-8")
        return refloss.load_options(path)


# %% [markdown]
# ## What is not written
#
# YAML is nested `key: value` pairs; what is indented belongs to the line above. In the next file the section is one
# word. (It is that of the training, of an `architecture`, the kind of model, which here is one called `pet`.) Which
# targets there are is said elsewhere, in the `training_set`, with the `key` under which the data have them: an energy,
# and a density of states (DOS), whose name `mtt::dos` begins with `mtt::` as those of all targets do that are not among
# the few standard ones.

# %%
SHORTEST = """\
architecture:
  name: pet
  training:
    loss: mse
training_set:
  targets:
    energy:
      key: energy
    mtt::dos:
      key: dos
"""
section = read(SHORTEST)
print(dump(section.losses))

# %% [markdown]
# One word has become four terms. `section.losses`, or on the command line `refloss options FILE`, has written out all
# that was filled in:
#
# - `type`, `weight` and `reduction` of each: the mean squared error of lesson 1, weight 1, the mean over all that
#   counts.
# - Under `gradients`, what belongs to the energy. Its derivative by the atoms' `positions` is minus the *forces*, and
#   that by the `strain`, a stretching of the whole crystal, is its *stress* times the volume. A model that predicts an
#   energy has these for free, and they are trained along, unless `forces: false` and `stress: false` in the training
#   set say otherwise.
# - A DOS is no energy, and has no such gradients.
#
# ## What is written
#
# A longer section says more. `forces` and `stress` are short for `gradients: {positions: …}` and `gradients: {strain:
# …}`, and a type alone is short for a mapping with nothing but a `type`. In this and the other snippets the `loss`
# stands at the top, beside the training set; `refloss` takes that too.

# %%
LONGER = """\
training_set:
  targets:
    energy:
      key: energy
    mtt::dos:
      key: dos
loss:
  energy:
    weight: 10.0
    forces:
      type: huber
      delta: 0.5
    stress: mae
  mtt::dos:
    type: masked_dos
    weight: 0.01
    extra_targets: 200
    grad_weight: 1e-4
"""
print(dump(read(LONGER).losses))

# %% [markdown]
# Three things to notice, each of them easy to get wrong.
#
# - The weight of the energy does not pass on to its gradients: they keep theirs, which is 1 where nothing else is said.
# - `grad_weight: 1e-4` came out as a number. By the letter of YAML's old rules it is a *string*, since it has no
#   decimal point, and a program that reads it so holds a weight that cannot be multiplied with.
# - `int_weight`, which `masked_dos` knows too, is not there: what is not written is left to the loss itself. The keys
#   `extra_targets`, `grad_weight` and `int_weight` are explained in lessons 4 and 5.
#
# A shorthand can surprise. `loss: huber` sets the type of all terms, of gradients too. But `loss: {energy: huber}` sets
# that of the energy's values alone:

# %%
TARGETS = "training_set: {targets: {energy: {key: energy, stress: off}}}\n"
for loss in ("huber", "{energy: huber}", "{energy: {type: huber, forces: huber}}"):
    energy = read(TARGETS + f"loss: {loss}\n").losses["energy"]
    print(f"loss: {loss:40} energy {energy['type']}, forces {energy['gradients']['positions']['type']}")

# %% [markdown]
# ## From the section to the number
#
# Now with data. `demo.make()` has crystals, their elastic energies and their DOS, and predictions of them that are
# wrong in known ways; its options are a commented file to start from. `section.evaluate` takes predictions, targets,
# and the masks as extra data (the mask of `mtt::dos` is called `mtt::dos_mask`), and returns each term and the total.

# %%
made = demo.make(8)
section = read(made.options)
result = section.evaluate(**made.data.arguments(), grad=True)
print(f"{'term':20} {'type':12} {'weight':>7} {'value':>12} {'weight · value':>15}")
for name, term in result.terms.items():
    print(f"{name:20} {term.type:12} {term.weight:7g} {term.value:12.6g} {term.contribution:15.6g}")
print(f"{'total':54} {result.total:15.6g}")
print(f"total less the sum of contributions: {result.total - sum(t.contribution for t in result.terms.values()):.1e}")

# %% [markdown]
# ## What a weight means
#
# The values have different units: (eV)² for the energy, (eV/Å)² for the Huber loss of the forces (Å, the ångström, is
# 10⁻¹⁰ m), eV for an absolute error of the strain gradient, states²/eV for the leading part of the DOS. They cannot be
# compared, and a weight is, among other things, the exchange rate. A term's *contribution*, weight times value, says
# how much of the total is due to it.
#
# It does not say how hard it pulls. Lesson 1 told that a model only hears gradients. One measure of a term's pull is
# the length of its gradient by the predictions, times the weight. (By the parameters would be better still; but that
# needs the model.) These gradients too have units, so what follows compares numbers in eV, Å and their like. Figure
# `lesson_6_shares.png` shows both shares, and they differ: a mean over few numbers pulls hard on each of them, a mean
# over many only softly. The code prints how many numbers each term has a pull on.


# %%
def pull(term):
    return term.weight * np.linalg.norm(term.result.grad)


names = list(result.terms)
contributions = np.array([result.terms[name].contribution for name in names])
pulls = np.array([pull(result.terms[name]) for name in names])
shares = {"of the total": contributions / contributions.sum(), "of the pulls": pulls / pulls.sum()}
print("pulled on: " + ", ".join(f"{name} {np.count_nonzero(result.terms[name].result.grad)}" for name in names))
for what, share in shares.items():
    print(f"share {what}: " + ", ".join(f"{name} {s:.1%}" for name, s in zip(names, share, strict=True)))

with style.figure(None, (6.6, 2.8)) as figure:
    ax = figure.subplots()
    rows = np.arange(len(names))
    looks = ((style.BLUE, ""), (style.ORANGE, "//"))
    for offset, (what, share), (colour, hatch) in zip((-0.2, 0.2), shares.items(), looks, strict=True):
        bars = ax.barh(rows + offset, share, 0.38, color=colour, hatch=hatch, edgecolor="white", label=f"share {what}")
        ax.bar_label(bars, [f"{s:.1%}" for s in share], padding=3, fontsize=8)
    ax.set(
        yticks=rows, yticklabels=[f"{name}\n{result.terms[name].type}" for name in names], xlim=(0, 1.0), xlabel="share"
    )
    ax.invert_yaxis()
    ax.legend(loc="lower right")
plotting.save(figure, "lesson_6_shares.png")
figure

# %% [markdown]
# Here one term has most of both. It would be easy to change that: with the weights 1/value, each term has the same
# share of the total. But shares move while a model learns, even though the weights stay. If all predictions come closer
# to their targets by a factor, squares fall with its square, absolute errors with the factor itself, and Huber losses
# with one or the other. Figure `lesson_6_learning.png` has these balanced weights at the grey line; to the right of it
# all errors, those of energies, forces, stresses and DOS, get smaller: a run that goes well. The absolute error takes
# over. And the DOS does not fall with the square of its errors for ever: its loss has a part that is not about errors,
# but about smoothness where the mask is 0 (lesson 5).

# %%
arguments = made.data.arguments()
factors = 10.0 ** np.linspace(-1.5, 0.5, 13)
dos = result.terms["mtt::dos"].result
history = []
for factor in factors:
    closer = {}
    for target, parts in arguments["predictions"].items():
        closer[target] = {}
        for key, p in parts.items():
            t = arguments["targets"][target][key]
            if target == "mtt::dos":
                # The errors of the aligned windows, where they count; all else stays as it is.
                counted = arguments["extra_data"]["mtt::dos_mask"]["values"]
                moved = np.array(p)
                for b, s in enumerate(dos.shift):
                    moved[b, s : s + t.shape[1]][counted[b]] = (t[b] + factor * (dos.aligned[b] - t[b]))[counted[b]]
                closer[target][key] = moved
            else:
                closer[target][key] = t + factor * (p - t)
    evaluated = section.evaluate(closer, arguments["targets"], arguments["extra_data"])
    balanced = np.array([evaluated.terms[name].value / result.terms[name].value for name in names])
    history.append(balanced / balanced.sum())

with style.figure(None, (6.6, 3.0)) as figure:
    ax = figure.subplots()
    for name, share, dashes in zip(names, np.transpose(history), ("-", "--", "-.", ":"), strict=True):
        ax.semilogx(factors, share, ls=dashes, lw=1.8, label=f"{name} ({result.terms[name].type})")
    ax.axvline(1.0, color=style.SHADE, lw=2.0, zorder=0)
    ax.set(xlabel="errors, relative to what they are", ylabel="share of the total", ylim=(0, 1))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.invert_xaxis()
    figure.legend(loc="outside upper center", ncols=2)
plotting.save(figure, "lesson_6_learning.png")
for name, early, late in zip(names, history[-1], history[0], strict=True):
    print(f"{name:18} errors × {factors[-1]:.2g}: {early:5.1%} of the total; × {factors[0]:.2g}: {late:5.1%}")
figure

# %% [markdown]
# ## Exercise
#
# The next file has mistakes, more than three. Find them before you run the cell of the answer.

# %%
MISTAKEN = """\
training_set:
  targets:
    energy: {key: energy}
    mtt::dos: {key: dos}
loss:
  energy:
    type: hubber
    weight: high
    forces: {type: mae, delta: 0.5}
  mtt::dos:
    type: masked_dos
    stress: mse
  mtt::dso: mse
"""

# %% [markdown]
# ## Answer
#
# A reader that stops at the first mistake would need a run for each. `refloss` tells all of them at once, with line and
# column, and what may have been meant.

# %%
try:
    read(MISTAKEN)
except refloss.ConfigError as error:
    found = [line.split("options.yaml:")[1] for line in str(error).splitlines()]
    print(f"{len(found)} mistakes, at line:column\n")
    print("\n".join(found))
