"""Option sections beyond those of tests/options_valid.py: read alike by metatrain and refloss, or read otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from options_valid import target, term

BOTH = {"positions": term(), "strain": term()}
ENERGY = "\ntraining_set: a.xyz"
CHARGE = "\ntraining_set: {targets: {mtt::q: {quantity: charge}}}"

ALIKE = {
    "all the keys of an energy": "loss: {energy: {type: mae, weight: 0.5, reduction: sum, forces: mae, stress: huber}}"
    + ENERGY,
    "an energy by another name": """
        loss: {mtt::etot: {type: mse, forces: {type: mae, weight: 10}, stress: {weight: 1e-3}}}
        training_set: {targets: {mtt::etot: {quantity: energy, forces: true, stress: true}}}
    """,
    "virial in place of stress": """
        loss: {energy: {forces: huber, virial: {type: mse, weight: .1}}}
        training_set: {targets: {energy: {virial: true}}}
    """,
    "huber for all": "loss: huber" + ENERGY,
    "delta of a target and of a gradient": "loss: {energy: {type: huber, delta: 0.1, forces: {type: huber, delta: 2}}}"
    + ENERGY,
    "masked types with their delta": """
        loss: {energy: {type: masked_huber, delta: 0.3, forces: masked_mae, stress: masked_mse}}
        training_set: a.xyz
    """,
    "reduction none": "loss: {mtt::q: {type: mae, reduction: none}}" + CHARGE,
    "weight zero": "loss: {energy: {weight: 0, forces: {weight: 0.0}}}" + ENERGY,
    "negative weight": "loss: {mtt::q: {weight: -3}}" + CHARGE,
    "explicit gradients of an energy": """
        loss: {energy: {gradients: {positions: {type: mae}, strain: {weight: 2, reduction: sum}}}}
        training_set: a.xyz
    """,
    "explicit gradients of another target": """
        loss: {mtt::q: {gradients: {field: {type: huber, delta: 0.2}}}}
        training_set: {targets: {mtt::q: {quantity: charge}}}
    """,
    "explicit over shorthand": """
        loss: {energy: {forces: {weight: 3, reduction: sum}, gradients: {positions: {type: mae, weight: 5}}}}
        training_set: a.xyz
    """,
    "forces alone": "loss: {energy: {forces: mae}}\ntraining_set: {targets: {energy: {stress: off}}}",
    "several targets, some left out": """
        loss: {mtt::b: mae}
        training_set: {targets: {energy: {forces: off}, mtt::b: {quantity: b}, mtt::c: {quantity: c}}}
    """,
    "two data sets": """
        loss: {energy: {forces: mae}, mtt::q: {weight: 2}}
        training_set:
          - {targets: {energy: {forces: on, stress: off}}}
          - {targets: {mtt::q: {quantity: charge}, energy: {forces: off, stress: on}}}
    """,
    "shift_agnostic_mse with both of its weights": """
        loss: {mtt::dos: {type: shift_agnostic_mse, grad_penalty_weight: 1e-4, int_weight: 2}}
        training_set: {targets: {mtt::dos: {quantity: dos}}}
    """,
    "ensemble types": """
        loss: {mtt::a: gaussian_nll_ensemble, mtt::b: {type: gaussian_crps_ensemble}, mtt::c: empirical_crps_ensemble}
        training_set: {targets: {mtt::a: {quantity: a}, mtt::b: {quantity: b}, mtt::c: {quantity: c}}}
    """,
    "a variant of a target": "loss: {energy/pbe: mae}\ntraining_set: {targets: {energy/pbe: {quantity: energy}}}",
}
"""Valid for both, with the same expansion."""

REFUSED = {
    "an unknown type": "loss: {mtt::q: msee}" + CHARGE,
    "an unknown type for all": "loss: rmse" + CHARGE,
    "an unknown type of a gradient": "loss: {energy: {forces: mee}}" + ENERGY,
    "an unknown target": "loss: {charge: mse}" + CHARGE,
    "forces one level too high": "loss: {energy: mse, forces: mae}" + ENERGY,
    "a key of another type": "loss: {mtt::q: {type: mse, delta: 1.0}}" + CHARGE,
    "an unknown key": "loss: {energy: {wieght: 2}}" + ENERGY,
    "an unknown key of a gradient": "loss: {energy: {forces: {wieght: 2}}}" + ENERGY,
    "the shorthand's delta, where the explicit type takes none": """
        loss: {energy: {forces: {type: huber, delta: 0.1}, gradients: {positions: {type: mae}}}}
        training_set: a.xyz
    """,
    "a weight that is a word": "loss: {mtt::q: {weight: two}}" + CHARGE,
    "a weight that is nothing": "loss: {mtt::q: {weight: null}}" + CHARGE,
    "an unknown reduction": "loss: {mtt::q: {reduction: average}}" + CHARGE,
    "a section that is nothing": "loss: null" + CHARGE,
    "a section that is a list": "loss: [mse]" + CHARGE,
    "a target that is nothing": "loss: {mtt::q: null}" + CHARGE,
    "a target that is a number": "loss: {mtt::q: 2}" + CHARGE,
    "gradients that are a list": "loss: {energy: {gradients: [positions]}}" + ENERGY,
    "forces that are false": "loss: {energy: {forces: false}}" + ENERGY,
    "stress and virial in the section": "loss: {energy: {stress: mse, virial: mse}}" + ENERGY,
    "forces of what is said to be no energy": "loss: {mtt::q: {forces: mse}}" + CHARGE,
    "pointwise": "loss: {mtt::q: pointwise}" + CHARGE,
    "masked_pointwise": "loss: {mtt::q: masked_pointwise}" + CHARGE,
    "stress and virial of different files asked for": """
        loss: mse
        training_set: {targets: {energy: {stress: s.xyz, virial: v.xyz}}}
    """,
    "a training set that is a number": "loss: mse\ntraining_set: 3",
}
"""Invalid for both."""


@dataclass(frozen=True)
class Difference:
    """Options that metatrain 2026.4.1 and refloss read otherwise: the expansion, or a part of the error message.

    Attributes
    ----------
    title, theirs_in_words, ours_in_words : str
        The row of the table in docs/findings.md.
    """

    title: str
    text: str
    theirs: dict[str, Any] | str
    ours: dict[str, Any] | str
    theirs_in_words: str
    ours_in_words: str


DIFFERENCES = [
    Difference(
        "`masked_huber` without `delta`",
        "loss: {energy: masked_huber}" + ENERGY,
        "missing 1 required positional argument: 'delta'",
        {"energy": target("masked_huber", delta=1.0, gradients=BOTH)},
        "a TypeError when the loss is built",
        "`delta: 1.0`, as the documentation states for both Huber types",
    ),
    Difference(
        "`stress: on` and `virial: on` in the training set",
        "training_set: {targets: {energy: {stress: on, virial: on}}}",
        {"energy": target(gradients=BOTH)},
        "asks for both stress and virial",
        "takes the virial: a stress that is switched on looks like the default",
        "an error",
    ),
    Difference(
        "`forces` in the loss of a target without `quantity`",
        "loss: {mtt::q: {forces: mae}}\ntraining_set: {targets: {mtt::q: {forces: on}}}",
        {"mtt::q": target(gradients={"positions": term("mae")})},
        "'forces' is not for this target",
        "an energy: the training set's expansion fills in `quantity: energy` wherever it is absent",
        "an error: `quantity: energy` must stand there, as the documentation states",
    ),
    Difference(
        "`forces: on` in the training set for a target without `quantity`",
        "training_set: {targets: {mtt::q: {forces: on}}}",
        {"mtt::q": target(gradients={"positions": term()})},
        {"mtt::q": target()},
        "a loss on `positions`, for the same reason",
        "no such loss, unless `gradients` names it",
    ),
    Difference(
        "a gradient's type as a plain string under `gradients`",
        "loss: {energy: {gradients: {positions: mae}}}" + ENERGY,
        "validation errors",
        {"energy": target(gradients={"positions": term("mae"), "strain": term()})},
        "refused when options are validated, although the expansion behind it takes it",
        "the type",
    ),
    Difference(
        "a misspelt key in the training set, `force: off`",
        "training_set: {targets: {energy: {force: off}}}",
        {"energy": target(gradients=BOTH)},
        "unknown key 'force' (did you mean 'forces'?)",
        "unknown keys are passed over",
        "an error where one of the loss's own keys is near",
    ),
    Difference(
        "a training set without targets",
        "loss: mse\ntraining_set: {targets: {}}",
        {},
        "it names no targets",
        "an empty section",
        "an error",
    ),
    Difference(
        "no training set",
        "loss: {mtt::q: {type: mae, gradients: {field: {type: mse}}}}",
        "training_set",
        {"mtt::q": target("mae", gradients={"field": term()})},
        "an error: there must be one",
        "the targets and gradients that the section names",
    ),
    Difference(
        "a file name in a list of data sets",
        "training_set: [{targets: {energy: {}}}, b.xyz]",
        "'str' object has no attribute 'get'",
        {"energy": target(gradients=BOTH)},
        "an AttributeError; alone, a file name is a data set",
        "a data set with one target, `energy`",
    ),
    Difference(
        "`q` and `mtt::q` in one data set",
        "training_set: {targets: {q: {quantity: q}, 'mtt::q': {quantity: q}}}",
        "are not allowed to be present at the same time",
        {"q": target(), "mtt::q": target()},
        "an error",
        "two targets: the names matter to the model, not to a loss",
    ),
    Difference(
        "a target `charges`",
        "loss: {charges: mae}\ntraining_set: {targets: {charges: {quantity: charge}}}",
        "Invalid top-level loss entry 'charges'",
        {"charges": target("mae")},
        "renamed `charge` in the training set (with a warning), so that the loss names no target",
        "a target of that name",
    ),
    Difference(
        "`weight: .inf`",
        "loss: {mtt::q: {weight: .inf}}" + CHARGE,
        {"mtt::q": target(weight=float("inf"))},
        "expected a finite number",
        "an infinite weight",
        "an error",
    ),
    Difference(
        '`weight: "2"`, a string',
        "loss: {mtt::q: {weight: '2'}}" + CHARGE,
        {"mtt::q": target(weight="2")},  # type: ignore[arg-type]
        "found '2' (a string), expected a finite number",
        "taken; the first training step then multiplies by a string",
        "an error",
    ),
    Difference(
        "`weight: yes`, a boolean",
        "loss: {mtt::q: {weight: yes}}" + CHARGE,
        {"mtt::q": target(weight=True)},
        "found true (a boolean), expected a finite number",
        "taken as 1",
        "an error",
    ),
    Difference(
        "a word as the weight of `forces`",
        "loss: {energy: {forces: {weight: two}}}" + ENERGY,
        {"energy": target(gradients={"positions": term(weight="two"), "strain": term()})},  # type: ignore[arg-type]
        "found 'two' (a string), expected a finite number",
        "taken: what stands under a shorthand is not validated",
        "an error",
    ),
    Difference(
        "an unknown reduction of `forces`",
        "loss: {energy: {forces: {reduction: average}}}" + ENERGY,
        {"energy": target(gradients={"positions": term(reduction="average"), "strain": term()})},
        "unknown reduction 'average'",
        "taken, for the same reason; torch refuses it in the first training step",
        "an error",
    ),
    Difference(
        "`huber` with `delta: -1`",
        "loss: {mtt::q: {type: huber, delta: -1}}" + CHARGE,
        {"mtt::q": target("huber", delta=-1)},
        "expected a finite number > 0",
        "taken; torch refuses it in the first training step",
        "an error",
    ),
    Difference(
        "`shift_agnostic_mse` without its weights",
        "loss: {mtt::dos: shift_agnostic_mse}\ntraining_set: {targets: {mtt::dos: {quantity: dos}}}",
        "missing 2 required positional arguments",
        {"mtt::dos": target("shift_agnostic_mse")},
        "a TypeError when the loss is built",
        "the weights of PET-MAD-DOS, 1e-4 and 2",
    ),
    Difference(
        "a word as `int_weight`",
        """
        loss: {mtt::dos: {type: shift_agnostic_mse, grad_penalty_weight: 0, int_weight: two}}
        training_set: {targets: {mtt::dos: {quantity: dos}}}
        """,
        {"mtt::dos": target("shift_agnostic_mse", grad_penalty_weight=0, int_weight="two")},
        "found 'two' (a string), expected a finite number",
        "taken; the first training step then compares it with 0",
        "an error",
    ),
    Difference(
        "`energy_step` and `convention`",
        """
        loss: {mtt::dos: {type: shift_agnostic_mse, grad_penalty_weight: 0, int_weight: 0, energy_step: 0.1}}
        training_set: {targets: {mtt::dos: {quantity: dos}}}
        """,
        "unexpected keyword argument 'energy_step'",
        {"mtt::dos": target("shift_agnostic_mse", grad_penalty_weight=0.0, int_weight=0.0, energy_step=0.1)},
        "unknown keys",
        "keys of refloss alone",
    ),
    Difference(
        "`masked_dos`",
        """
        loss: {mtt::dos: {type: masked_dos, grad_weight: 1e-4, int_weight: 2, extra_targets: 200}}
        training_set: {targets: {mtt::dos: {quantity: dos}}}
        """,
        "Unknown loss 'masked_dos'",
        {"mtt::dos": target("masked_dos", grad_weight=1e-4, int_weight=2.0, extra_targets=200)},
        "unknown since 2026.3; alike in 2026.2",
        "the loss of 2025.12 to 2026.2.1",
    ),
]
