"""Options that are valid, with what they expand to: the specification's section 6, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Any


@dataclass(frozen=True)
class Valid:
    name: str
    text: str
    expanded: dict[str, Any]
    named: frozenset[str] = frozenset()


def term(loss: str = "mse", weight: float = 1.0, reduction: str = "mean", **more: Any) -> dict[str, Any]:
    return {"type": loss, "weight": weight, "reduction": reduction, **more}


def target(*args: Any, gradients: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {**term(*args, **more), "gradients": gradients or {}}


def _valid(name: str, text: str, expanded: dict[str, Any], *named: str) -> Valid:
    return Valid(name, dedent(text).lstrip("\n"), expanded, frozenset(named))


BOTH = {"positions": term(), "strain": term()}
MAE_BOTH = {"positions": term("mae"), "strain": term("mae")}

VALID = [
    # Where the section stands, and which targets there are.
    _valid(
        "under architecture.training",
        """
        architecture:
          name: pet
          training: {num_epochs: 3, loss: {energy: mae}}
        training_set: {systems: a.xyz, targets: {energy: a.xyz}}
        """,
        {"energy": target("mae", gradients=BOTH)},
    ),
    _valid(
        "no loss at all: every target the defaults",
        """
        architecture: {name: pet, training: {num_epochs: 3}}
        training_set: {targets: {mtt::dos: a.mts, energy: {forces: on, stress: off}}}
        """,
        {"mtt::dos": target(), "energy": target(gradients={"positions": term()})},
    ),
    _valid(
        "an empty section too",
        "loss: {}\ntraining_set: {targets: {dipole: {quantity: dipole}}}",
        {"dipole": target()},
    ),
    _valid(
        "a training set that is a file name has one target, energy",
        "loss: mae\ntraining_set: a.xyz",
        {"energy": target("mae", gradients=MAE_BOTH)},
    ),
    _valid(
        "targets and gradients of several data sets are united",
        """
        loss: {energy: {weight: 2}}
        training_set:
          - {systems: a.xyz, targets: {energy: {forces: off, stress: off}, mtt::dos: {}}}
          - {systems: b.xyz, targets: {energy: {forces: on, stress: off}}}
          - {systems: c.xyz, targets: {dipole: c.xyz}}
          - {systems: d.xyz}
          - d.xyz
        """,
        {"energy": target(weight=2.0, gradients=BOTH), "mtt::dos": target(), "dipole": target()},
    ),
    _valid(
        "what one data set asks for, a later one does not take away",
        """
        loss: {mtt::a: {forces: mae}}
        training_set:
          - targets: {energy: {}, mtt::a: {quantity: energy, forces: off}}
          - targets: {energy: {forces: off, stress: off}, mtt::a: {forces: off}}
        """,
        {
            "energy": target(gradients=BOTH),
            "mtt::a": target(gradients={"strain": term(), "positions": term("mae")}),
        },
        "mtt::a/positions",
    ),
    _valid(
        "one data set has the stress, another the virial",
        """
        training_set:
          - targets: {energy: {forces: no, stress: yes}}
          - targets: {energy: {forces: no, virial: yes}}
        """,
        {"energy": target(gradients={"strain": term()})},
    ),
    # Which gradients the training set asks for.
    _valid(
        "absent keys of an energy-like target are on, by name or by quantity",
        "training_set: {targets: {energy: {}, 'mtt::U0': {quantity: energy, key: U0}, mtt::U1: {quantity: other}}}",
        {"energy": target(gradients=BOTH), "mtt::U0": target(gradients=BOTH), "mtt::U1": target()},
    ),
    _valid(
        "an energy that is a file name has both gradients; another target has none",
        "training_set: {targets: {energy: a.xyz, mtt::U0: a.xyz}}",
        {"energy": target(gradients=BOTH), "mtt::U0": target()},
    ),
    _valid(
        "a string or a mapping asks, false does not",
        """
        training_set:
          targets:
            energy: {forces: forces.xyz, stress: {key: s}}
            mtt::a: {quantity: energy, forces: false, stress: Off}
            mtt::b: {quantity: energy, forces: 'NO', stress: NO}
        """,
        {
            "energy": target(gradients=BOTH),
            "mtt::a": target(),
            "mtt::b": target(gradients={"positions": term()}),
        },
    ),
    _valid(
        "stress is off where virial is given, and on again where virial is given as false",
        """
        training_set:
          targets:
            energy: {virial: on, forces: off}
            mtt::a: {quantity: energy, virial: off, forces: off}
            mtt::b: {quantity: energy, virial: off, stress: off, forces: off}
            mtt::c: {quantity: energy, virial: on, stress: off, forces: off}
        """,
        {
            "energy": target(gradients={"strain": term()}),
            "mtt::a": target(gradients={"strain": term()}),
            "mtt::b": target(),
            "mtt::c": target(gradients={"strain": term()}),
        },
    ),
    _valid(
        "gradients of a target that is not energy-like are not the section's",
        "training_set: {targets: {dipole: {quantity: dipole, forces: on, stress: off}}}",
        {"dipole": target()},
    ),
    # loss: T, and loss: {target: T}
    _valid(
        "loss: T is the type of every target and gradient, with its defaults",
        "loss: huber\ntraining_set: {targets: {energy: a.xyz, mtt::dos: b.mts}}",
        {
            "energy": target(
                "huber", delta=1.0, gradients={g: term("huber", delta=1.0) for g in ("positions", "strain")}
            ),
            "mtt::dos": target("huber", delta=1.0),
        },
    ),
    _valid(
        "loss: {target: T} leaves the gradients and the other targets alone",
        "loss: {energy: masked_huber}\ntraining_set: {targets: {energy: a.xyz, mtt::dos: b.mts}}",
        {"energy": target("masked_huber", delta=1.0, gradients=BOTH), "mtt::dos": target()},
    ),
    # Keys
    _valid(
        "the target's weight, reduction and delta do not pass on to its gradients",
        "loss: {energy: {type: huber, weight: 3, reduction: sum, delta: 0.5}}\ntraining_set: a.xyz",
        {"energy": target("huber", 3.0, "sum", delta=0.5, gradients=BOTH)},
    ),
    _valid(
        "an empty mapping is the defaults",
        "loss: {energy: {gradients: {}}}",
        {"energy": target()},
    ),
    _valid(
        "masked_dos takes its keys and fills none of them in",
        """
        loss:
          mtt::dos:
            type: masked_dos
            grad_weight: 1e-4
            int_weight: 2
            extra_targets: 200
            energy_step: .5E-1
            convention: metatrain-2026.2
            reduction: none
          mtt::dos2: masked_dos
        """,
        {
            "mtt::dos": target(
                "masked_dos",
                reduction="none",
                grad_weight=1e-4,
                int_weight=2.0,
                extra_targets=200,
                energy_step=0.05,
                convention="metatrain-2026.2",
            ),
            "mtt::dos2": target("masked_dos"),
        },
    ),
    _valid(
        "weights may be zero and negative, and extra_targets zero",
        "loss: {mtt::dos: {type: masked_dos, weight: -1, grad_weight: 0, int_weight: -0.5, extra_targets: 0}}",
        {"mtt::dos": target("masked_dos", -1.0, grad_weight=0.0, int_weight=-0.5, extra_targets=0)},
    ),
    _valid(
        "shift_agnostic_mse takes its keys and fills none of them in",
        """
        loss:
          mtt::dos:
            type: shift_agnostic_mse
            grad_penalty_weight: 1e-4
            int_weight: 2
            energy_step: .5E-1
            convention: metatrain-2026.3
          mtt::dos2: shift_agnostic_mse
        """,
        {
            "mtt::dos": target(
                "shift_agnostic_mse",
                grad_penalty_weight=1e-4,
                int_weight=2.0,
                energy_step=0.05,
                convention="metatrain-2026.3",
            ),
            "mtt::dos2": target("shift_agnostic_mse"),
        },
    ),
    _valid(
        "ensemble types take no keys of their own, and go to gradients where they are given to all",
        """
        loss: gaussian_crps_ensemble
        training_set: {targets: {energy: {stress: off}, mtt::dos: {}}}
        """,
        {
            "energy": target("gaussian_crps_ensemble", gradients={"positions": term("gaussian_crps_ensemble")}),
            "mtt::dos": target("gaussian_crps_ensemble"),
        },
    ),
    _valid(
        "ensemble types of single targets",
        """
        loss:
          energy: {type: gaussian_nll_ensemble, weight: 2, reduction: sum, forces: mae}
          mtt::a: empirical_crps_ensemble
        """,
        {
            "energy": target("gaussian_nll_ensemble", 2.0, "sum", gradients={"positions": term("mae")}),
            "mtt::a": target("empirical_crps_ensemble"),
        },
        "energy/positions",
    ),
    # Gradients
    _valid(
        "forces and stress become positions and strain, and count as named",
        """
        loss:
          energy: {forces: mae, stress: {type: huber, delta: 0.25, weight: 0.1}}
        training_set: a.xyz
        """,
        {"energy": target(gradients={"positions": term("mae"), "strain": term("huber", 0.1, delta=0.25)})},
        "energy/positions",
        "energy/strain",
    ),
    _valid(
        "a shorthand names its gradient alone; the other comes from the training set",
        "loss: {mtt::U0: {virial: {weight: 5}}}\ntraining_set: {targets: {mtt::U0: {quantity: energy}}}",
        {"mtt::U0": target(gradients={"positions": term(), "strain": term(weight=5.0)})},
        "mtt::U0/strain",
    ),
    _valid(
        "a gradient that the training set has switched off comes back by its name",
        "loss: {energy: {forces: {}}}\ntraining_set: {targets: {energy: {forces: off, stress: off}}}",
        {"energy": target(gradients={"positions": term()})},
        "energy/positions",
    ),
    _valid(
        "explicit gradients, of any target",
        """
        loss:
          dipole: {type: mae, gradients: {positions: huber, field: {reduction: sum}}}
        training_set: {targets: {dipole: {quantity: dipole}}}
        """,
        {"dipole": target("mae", gradients={"positions": term("huber", delta=1.0), "field": term(reduction="sum")})},
        "dipole/positions",
        "dipole/field",
    ),
    _valid(
        "an explicit gradient is merged over the shorthand key by key",
        """
        loss:
          energy:
            forces: {type: mae, weight: 0.1, reduction: sum}
            gradients: {positions: {weight: 7, type: masked_mse}}
        """,
        {"energy": target(gradients={"positions": term("masked_mse", 7.0, "sum")})},
        "energy/positions",
    ),
    _valid(
        "halves that are valid only together",
        """
        loss:
          energy:
            forces: {delta: 0.1}
            gradients: {positions: huber, strain: {delta: 0.3}}
            stress: masked_huber
        """,
        {
            "energy": target(
                gradients={"positions": term("huber", delta=0.1), "strain": term("masked_huber", delta=0.3)}
            )
        },
        "energy/positions",
        "energy/strain",
    ),
    # Without a training set
    _valid(
        "without a training set: the targets and gradients that the section names, energy-like what has a shorthand",
        """
        loss:
          energy: mae
          mtt::U0: {forces: mae, virial: mse}
          mtt::dos: {type: masked_dos, gradients: {k: mse}}
        """,
        {
            "energy": target("mae"),
            "mtt::U0": target(gradients={"positions": term("mae"), "strain": term()}),
            "mtt::dos": target("masked_dos", gradients={"k": term()}),
        },
        "mtt::U0/positions",
        "mtt::U0/strain",
        "mtt::dos/k",
    ),
    _valid(
        "targets that go by the name of a key, where the training set has them",
        "loss: {forces: mae, type: {weight: 2}}\ntraining_set: {targets: {forces: f.mts, type: t.mts}}",
        {"forces": target("mae"), "type": target(weight=2.0)},
    ),
    # YAML
    _valid(
        "anchors, aliases and merge keys",
        """
        loss:
          energy: &base {type: huber, weight: 2, delta: 0.5}
          mtt::a: {<<: *base, delta: 0.25}
          mtt::b: {weight: 3, <<: [{reduction: sum, delta: 4.0}, *base]}
          mtt::c: *base
        """,
        {
            "energy": target("huber", 2.0, delta=0.5),
            "mtt::a": target("huber", 2.0, delta=0.25),
            "mtt::b": target("huber", 3.0, "sum", delta=4.0),
            "mtt::c": target("huber", 2.0, delta=0.5),
        },
    ),
]
