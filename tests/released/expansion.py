"""metatrain's own way from options to loss terms, and options completed so that it can go it.

`mtt train` checks the options of the architecture, expands the training set, expands the `loss` section, and then
builds one loss object for each target and gradient. What any of the four steps refuses, metatrain refuses.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from metatrain.utils.architectures import check_architecture_options, get_default_hypers
from metatrain.utils.loss import create_loss
from metatrain.utils.omegaconf import expand_dataset_config, expand_loss_config
from omegaconf import OmegaConf

SHORTHANDS = ("forces", "stress", "virial")


def completed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with what metatrain needs and refloss does without.

    The section goes under `architecture.training`, each data set has its `systems`, and where there is no training set
    there is one with the targets that the section names, energies where they have a shorthand, without any gradient.
    """
    options = copy.deepcopy(dict(options))
    training = options.setdefault("architecture", {}).setdefault("training", {})
    options["architecture"]["name"] = "pet"
    if "loss" in options:
        training["loss"] = options.pop("loss")
    if "training_set" not in options:
        options["training_set"] = {"targets": {name: _asking_nothing(it) for name, it in training["loss"].items()}}
    data_sets = options["training_set"]
    for data_set in data_sets if isinstance(data_sets, list) else [data_sets]:
        if isinstance(data_set, dict):
            data_set.setdefault("systems", "a.xyz")
    return options


def _asking_nothing(entry: Any) -> dict[str, Any]:
    energy = isinstance(entry, dict) and any(key in entry for key in SHORTHANDS)
    return {"quantity": "energy" if energy else "other", "forces": False, "stress": False}


def validate(options: Mapping[str, Any]) -> None:
    """Check what the options say of the loss as metatrain checks an architecture's options."""
    hypers = copy.deepcopy(get_default_hypers("pet"))
    hypers["training"].update({k: v for k, v in options["architecture"]["training"].items() if k == "loss"})
    check_architecture_options(name="pet", options=hypers)


def expand(options: Mapping[str, Any], module: ModuleType | None = None) -> dict[str, dict[str, Any]]:
    """Expand training set and section, by the installed release or by the given module of another."""
    config = OmegaConf.create(copy.deepcopy(dict(options)))
    data_sets = module.expand_dataset_config if module else expand_dataset_config
    config["training_set"] = data_sets(config["training_set"])
    config = (module.expand_loss_config if module else expand_loss_config)(config)
    return OmegaConf.to_container(config["architecture"]["training"]["loss"])


def build(expanded: Mapping[str, Mapping[str, Any]], module: ModuleType | None = None) -> list[Any]:
    """Build the loss object of each target and gradient."""
    create = module.create_loss if module else create_loss
    built = []
    for name, target in expanded.items():
        own = {key: value for key, value in target.items() if key != "gradients"}
        for gradient, entry in [(None, own), *target["gradients"].items()]:
            rest = {key: value for key, value in entry.items() if key != "type"}
            built.append(create(entry["type"], name=name, gradient=gradient, **rest))
    return built


def released(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the section as metatrain trains with it."""
    validate(options)
    expanded = expand(options)
    build(expanded)
    return expanded
