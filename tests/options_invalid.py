"""Options that are not valid, with what is said about them.

The sign § stands where a problem is reported, just before the key or value in question; it is taken out before the
text is read, so the expected line and column come from the example, not from the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Invalid:
    name: str
    text: str
    said: tuple[tuple[str, ...], ...]
    """Per problem, what its line must contain."""
    in_schema: bool = True
    """Whether the section alone, without values, shows the problem."""

    @property
    def clean(self) -> str:
        return self.text.replace("§", "")

    @property
    def marks(self) -> list[tuple[int, int]]:
        marks = []
        for number, line in enumerate(self.text.split("\n"), start=1):
            parts = line.split("§")
            marks += [(number, len("".join(parts[: i + 1])) + 1) for i in range(len(parts) - 1)]
        return marks


def _invalid(name: str, text: str, *said: str | tuple[str, ...], in_schema: bool = True) -> Invalid:
    lines = tuple((each,) if isinstance(each, str) else each for each in said)
    return Invalid(name, dedent(text).lstrip("\n"), lines, in_schema)


INVALID = [
    # Where the section stands
    _invalid(
        "in both places",
        "§loss: mse\narchitecture: {training: {loss: mae}}\ntraining_set: a.xyz",
        ("loss", "architecture.training.loss", "keep one"),
        in_schema=False,
    ),
    _invalid(
        "loss: T without a training set",
        "loss: §mse",
        ("'mse'", "no training_set", "names no target"),
        in_schema=False,
    ),
    _invalid(
        "an empty section without a training set",
        "loss: §{}",
        ("empty", "no training_set"),
        in_schema=False,
    ),
    _invalid("neither", "§device: cpu", ("neither a loss section nor a training_set",), in_schema=False),
    _invalid("not a mapping", "§- loss: mse", ("options: found a list", "expected a mapping"), in_schema=False),
    _invalid(
        "the section is nothing",
        "loss: §~\ntraining_set: a.xyz",
        "loss: found nothing (null), expected a loss type or a mapping of targets",
    ),
    _invalid("the section is a list", "loss: §[mse]\ntraining_set: a.xyz", "loss: found a list, expected a loss type"),
    _invalid(
        "architecture and training of a wrong type",
        "loss: mse\narchitecture: §pet\ntraining_set: a.xyz",
        "architecture: found 'pet' (a string), expected a mapping",
        in_schema=False,
    ),
    _invalid(
        "training of a wrong type",
        "loss: mse\narchitecture: {training:§ }\ntraining_set: a.xyz",
        "architecture.training: found nothing (null), expected a mapping",
        in_schema=False,
    ),
    _invalid(
        "a misspelt key on the way to the section is not taken for its absence",
        "§architecture: {§trainings: {loss: mae}}\n§train_set: b.xyz\n§losses: mse",
        ("options: there is neither",),
        "architecture.trainings: unknown key 'trainings' (did you mean 'training'?)",
        "train_set: unknown key 'train_set' (did you mean 'training_set'?)",
        "losses: unknown key 'losses' (did you mean 'loss'?)",
        in_schema=False,
    ),
    # The training set
    _invalid(
        "no targets",
        "loss: mse\ntraining_set: §{systems: a.xyz}",
        "training_set: it names no targets",
        in_schema=False,
    ),
    _invalid(
        "a training set that is none",
        "loss: {energy: mse}\ntraining_set: §12",
        "training_set: found 12, expected a file name or a mapping",
        in_schema=False,
    ),
    _invalid(
        "wrong types in the training set, without echoes from the loss section",
        """
        loss: {energy: {forces: mse}, mtt::x: mse}
        training_set:
          - targets: §[energy]
          - §3
          - targets:
              energy:§
              mtt::a: {quantity: §1, forces: §2, stress: §~}
              §1: a.xyz
        """,
        "training_set[0].targets: found a list, expected a mapping of targets",
        "training_set[1]: found 3, expected a file name or a mapping",
        "training_set[2].targets.energy: found nothing (null), expected a file name or a mapping",
        "training_set[2].targets.mtt::a.quantity: found 1, expected a string",
        "training_set[2].targets.mtt::a.forces: found 2, expected true, false, a file name or a mapping",
        "training_set[2].targets.mtt::a.stress: found nothing (null), expected true, false",
        "training_set[2].targets: found 1 as a key, expected a string: quote it",
        in_schema=False,
    ),
    _invalid(
        "stress and virial asked for",
        "training_set: {targets: {energy: {stress: on, §virial: v.xyz}}}",
        ("training_set.targets.energy", "both stress and virial"),
        in_schema=False,
    ),
    _invalid(
        "a misspelt gradient of the training set",
        "training_set: {targets: {energy: {§force: off}}}",
        "unknown key 'force' (did you mean 'forces'?)",
        in_schema=False,
    ),
    # Targets
    _invalid(
        "entries that are no target, with the nearest one",
        """
        loss: {§energi: mse, §dos: mse, §forces: mae, §weight: 2.0, §on: mse}
        training_set: {targets: {energy: a.xyz, mtt::dos: b.mts}}
        """,
        ("loss.energi: 'energi' is no target", "which has energy, mtt::dos", "did you mean 'energy'?"),
        ("loss.dos: 'dos' is no target", "did you mean 'mtt::dos'?"),
        ("loss.forces: 'forces' is no target", "belongs inside an energy-like target"),
        ("loss.weight: 'weight' is no target", "belongs inside a target"),
        ("loss: found true (a boolean) as a key", "quote it"),
        in_schema=False,
    ),
    _invalid(
        "keys of a target, one level too high",
        "loss: {§type: huber, §forces: mse}",
        "loss.type: 'type' is a key of a target",
        "loss.forces: 'forces' is a key of a target",
        in_schema=False,
    ),
    _invalid(
        "wrong type of an entry",
        "loss: {energy: §1.0, mtt::a: §[mse], mtt::b:§ , mtt::c: {gradients: §mse}, mtt::d: {forces: §off}}",
        "loss.energy: found 1.0, expected a loss type or a mapping",
        "loss.mtt::a: found a list, expected a loss type or a mapping",
        "loss.mtt::b: found nothing (null), expected a loss type or a mapping",
        "loss.mtt::c.gradients: found 'mse' (a string), expected a mapping of gradients",
        ("loss.mtt::d.forces: found false (a boolean), expected a loss type or a mapping", "weight: 0.0"),
    ),
    # Types
    _invalid(
        "unknown types, with the nearest one",
        """
        loss:
          energy: {type: §hubber, forces: §mae_masked, gradients: {a: §dos_loss}}
          mtt::b: {type: §null}
          mtt::c: {type: §[mse]}
          mtt::d: §smooth_l1_cauchy
          mtt::e: §HUBER
        """,
        ("loss.energy.type: unknown loss type 'hubber', expected one of mse, mae, huber", "did you mean 'huber'?"),
        ("loss.energy.forces: unknown loss type 'mae_masked'", "did you mean 'masked_mae'?"),
        ("loss.energy.gradients.a: unknown loss type 'dos_loss'",),
        ("loss.mtt::b.type: found nothing (null), expected one of mse",),
        ("loss.mtt::c.type: found a list, expected one of mse",),
        ("loss.mtt::d: unknown loss type 'smooth_l1_cauchy'",),
        ("loss.mtt::e: unknown loss type 'HUBER'", "did you mean 'huber'?"),
    ),
    _invalid(
        "an unknown type for all is said once",
        "loss: §msee\ntraining_set: a.xyz",
        ("loss: unknown loss type 'msee'", "did you mean 'mse'?"),
    ),
    _invalid(
        "what metatrain registers but cannot build",
        "loss: {energy: §pointwise, mtt::b: {type: §masked_pointwise}}",
        ("loss.energy: the type 'pointwise' cannot be built from options", "metatrain registers it"),
        ("loss.mtt::b.type: the type 'masked_pointwise' cannot be built from options",),
    ),
    _invalid(
        "a type by a name that it had",
        "loss: {energy: {forces: §ensemble_nll}}\ntraining_set: a.xyz",
        (
            "loss.energy.forces: found 'ensemble_nll'",
            "expected 'gaussian_nll_ensemble': its name since metatrain 2026.2",
        ),
    ),
    # Keys and values
    _invalid(
        "keys that the type does not take",
        """
        loss:
          energy:
            §delta: 1.0
            §wieght: 2.0
            forces: {type: mae, §grad_weight: 1.0, §gradients: {}}
            gradients: {strain: {type: huber, §detla: 0.1, §2: 3}}
          mtt::dos: {type: masked_dos, §delta: 1.0, §grad_wieght: 1.0}
        """,
        (
            "loss.energy.delta: mse takes no 'delta'",
            "its keys are type, weight, reduction",
            "key of huber, masked_huber",
        ),
        ("loss.energy.wieght: mse takes no 'wieght'", "did you mean 'weight'?"),
        ("loss.energy.forces.grad_weight: mae takes no 'grad_weight'", "key of masked_dos"),
        ("loss.energy.forces.gradients: mae takes no 'gradients'",),
        ("loss.energy.gradients.strain.detla: huber takes no 'detla'", "did you mean 'delta'?"),
        ("loss.energy.gradients.strain: found 2 as a key", "quote it"),
        ("loss.mtt::dos.delta: masked_dos takes no 'delta'", "key of huber"),
        ("loss.mtt::dos.grad_wieght: masked_dos takes no 'grad_wieght'", "did you mean 'grad_weight'?"),
    ),
    _invalid(
        "the two losses of a density of states do not share all their keys",
        """
        loss:
          mtt::a: {type: masked_dos, §grad_penalty_weight: 1.0}
          mtt::b: {type: shift_agnostic_mse, §grad_weight: 1.0, §extra_targets: 200, §delta: 1.0}
          mtt::c: {type: shift_agnostic_mse, grad_penalty_weight: §.nan, energy_step: §-0.05, int_weight: §two}
          mtt::d: {type: §shift_agnostic_mae}
        """,
        ("loss.mtt::a.grad_penalty_weight: masked_dos takes no", "key of shift_agnostic_mse"),
        ("loss.mtt::b.grad_weight: shift_agnostic_mse takes no 'grad_weight'", "key of masked_dos"),
        ("loss.mtt::b.extra_targets: shift_agnostic_mse takes no", "key of masked_dos"),
        ("loss.mtt::b.delta: shift_agnostic_mse takes no", "key of huber"),
        "loss.mtt::c.grad_penalty_weight: found nan, expected a finite number",
        "loss.mtt::c.energy_step: found -0.05, expected a finite number > 0",
        "loss.mtt::c.int_weight: found 'two' (a string), expected a finite number",
        ("unknown loss type 'shift_agnostic_mae'", "did you mean 'shift_agnostic_mse'?"),
    ),
    _invalid(
        "ensemble types have no keys of their own, and are named in full",
        """
        loss:
          mtt::a: {type: gaussian_nll_ensemble, §delta: 1.0}
          mtt::b: {type: §gaussian_nll}
          mtt::c: {type: empirical_crps_ensemble, reduction: §max}
        """,
        ("loss.mtt::a.delta: gaussian_nll_ensemble takes no 'delta'", "key of huber"),
        ("unknown loss type 'gaussian_nll'", "did you mean 'gaussian_nll_ensemble'?"),
        "loss.mtt::c.reduction",
    ),
    _invalid(
        "weights that are no finite number",
        """
        loss:
          energy: {weight: §"1.0"}
          mtt::b: {weight: §yes}
          mtt::c: {weight: §.nan}
          mtt::d: {weight: §-.inf}
          mtt::e: {weight: §1e999}
          mtt::f: {weight:§ }
          mtt::g: {weight: §[1.0]}
          mtt::h: {type: masked_dos, grad_weight: §one, int_weight: §.inf}
        """,
        "loss.energy.weight: found '1.0' (a string), expected a finite number",
        "loss.mtt::b.weight: found true (a boolean), expected a finite number",
        "loss.mtt::c.weight: found nan, expected a finite number",
        "loss.mtt::d.weight: found -inf, expected a finite number",
        "loss.mtt::e.weight: found inf, expected a finite number",
        ("loss.mtt::f.weight: found nothing (null), expected a finite number", "leave the key out"),
        "loss.mtt::g.weight: found a list, expected a finite number",
        "loss.mtt::h.grad_weight: found 'one' (a string), expected a finite number",
        "loss.mtt::h.int_weight: found inf, expected a finite number",
    ),
    _invalid(
        "a weight that only the reader can tell is not finite",
        "loss: {energy: {weight: §1e400}}",
        "found inf, expected a finite number",
        in_schema=False,
    ),
    _invalid(
        "delta and energy_step are finite and positive",
        """
        loss:
          energy: {type: huber, delta: §0.0}
          mtt::b: {type: masked_huber, delta: §-1}
          mtt::c: {type: masked_dos, energy_step: §0}
          mtt::d: {type: huber, delta: §.inf}
          mtt::e: {type: huber, delta: §true}
        """,
        "loss.energy.delta: found 0.0, expected a finite number > 0",
        "loss.mtt::b.delta: found -1, expected a finite number > 0",
        "loss.mtt::c.energy_step: found 0, expected a finite number > 0",
        "loss.mtt::d.delta: found inf, expected a finite number > 0",
        "loss.mtt::e.delta: found true (a boolean), expected a finite number > 0",
    ),
    _invalid(
        "extra_targets is an integer from 0",
        """
        loss:
          energy: {type: masked_dos, extra_targets: §-1}
          mtt::b: {type: masked_dos, extra_targets: §"200"}
          mtt::c: {type: masked_dos, extra_targets: §on}
          mtt::d: {type: masked_dos, extra_targets: §2.5}
        """,
        "loss.energy.extra_targets: found -1, expected an integer >= 0",
        "loss.mtt::b.extra_targets: found '200' (a string), expected an integer >= 0",
        "loss.mtt::c.extra_targets: found true (a boolean), expected an integer >= 0",
        "loss.mtt::d.extra_targets: found 2.5, expected an integer >= 0",
    ),
    _invalid(
        "a whole float is no integer either (JSON does not tell them apart)",
        "loss: {energy: {type: masked_dos, extra_targets: §200.0}}",
        "loss.energy.extra_targets: found 200.0, expected an integer >= 0",
        in_schema=False,
    ),
    _invalid(
        "reductions",
        """
        loss:
          energy: {reduction: §avg}
          mtt::b: {reduction: §~}
          mtt::c: {reduction: §None}
          mtt::d: {reduction: §no}
          mtt::e: {reduction: §men}
        """,
        "loss.energy.reduction: unknown reduction 'avg', expected one of mean, sum, none",
        ("loss.mtt::b.reduction: found nothing (null), expected one of", "did you mean the string 'none'?"),
        ("loss.mtt::c.reduction: unknown reduction 'None'", "did you mean 'none'?"),
        "loss.mtt::d.reduction: found false (a boolean), expected one of mean, sum, none",
        ("loss.mtt::e.reduction: unknown reduction 'men'", "did you mean 'mean'?"),
    ),
    _invalid(
        "conventions",
        "loss: {energy: {type: masked_dos, convention: §metatrain-2026}, mtt::b: {type: masked_dos, convention: §2}}",
        ("loss.energy.convention: unknown convention 'metatrain-2026'", "did you mean 'metatrain-2026.2'?"),
        ("loss.mtt::b.convention: found 2, expected one of documented, intended",),
    ),
    _invalid(
        "a convention of the other loss",
        """
        loss:
          mtt::a: {type: shift_agnostic_mse, convention: §metatrain-2026.2}
          mtt::b: {type: shift_agnostic_mse, convention: §documented}
          mtt::c: {type: masked_dos, convention: §metatrain-2026.3}
        """,
        (
            "loss.mtt::a.convention: metatrain 2026.2 has no shift_agnostic_mse",
            "metatrain 2026.3 to 2026.4.1 have; it replaced masked_dos",
        ),
        ("loss.mtt::b.convention: unknown convention 'documented'", "intended, metatrain-2026.3"),
        (
            "loss.mtt::c.convention: metatrain 2026.3 has no masked_dos",
            "metatrain 2025.12 to 2026.2.1 have; shift_agnostic_mse replaced it in 2026.3",
        ),
    ),
    # Gradients
    _invalid(
        "energy shorthands on another target",
        "loss: {dipole: {§forces: mse, §virial: mae}}\ntraining_set: {targets: {dipole: {quantity: dipole}}}",
        ("loss.dipole.forces: 'forces' is not for this target", "energy-like"),
        ("loss.dipole.virial: 'virial' is not for this target", "quantity: energy"),
        in_schema=False,
    ),
    _invalid(
        "stress and virial",
        "loss: {energy: {stress: mse, §virial: mse}}\ntraining_set: a.xyz",
        ("loss.energy.virial", "stress and virial are both the strain gradient"),
    ),
    _invalid(
        "the shorthand's delta is unknown to the merged type",
        "loss: {energy: {forces: {type: huber, §delta: 0.1}, gradients: {positions: mae}}}",
        ("loss.energy.forces.delta: mae takes no 'delta'", "key of huber"),
        in_schema=False,
    ),
    _invalid(
        "everything that is wrong with a file is said, in the order of the file",
        """
        training_set: {targets: {energy: {stress: on, §virial: on}}}
        architecture:
          training:
            loss:
              energy: {type: §hubber, weight: 1, §weight: two}
              §dos: mse
        """,
        "both stress and virial",
        "unknown loss type 'hubber'",
        ("duplicate key 'weight'", "first given at 5:30"),
        "'dos' is no target",
        in_schema=False,
    ),
]
