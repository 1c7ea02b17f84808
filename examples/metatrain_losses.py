# %% [markdown]
# # metatrain's own losses, checked
#
# The released losses as candidates: arrays go into TensorMaps, and what the release has hard-coded (an energy step of
# 0.05 eV, the mean) is fixed for all cases.
#
#     refloss crosscheck examples/metatrain_losses.py:shift_agnostic_mse --loss shift_agnostic_mse --arrays torch \
#         --dtype float32 --param energy_step=0.05 --param reduction=mean
#
# Needs metatrain: `shift_agnostic_mse` 2026.3 or newer, `masked_dos` 2026.2.1 or older.

# %%
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatrain.utils import loss as released

TARGET = "mtt::dos"


def shift_agnostic_mse(predictions, targets, *, grad_penalty_weight, int_weight):
    """Predictions (B, M), targets (B, N), NaN where they are masked; the convention is that of the release."""
    loss = released.ShiftAgnosticMSE(TARGET, None, 1.0, int_weight, grad_penalty_weight, "mean")
    return loss.compute(named(predictions), named(targets))


def masked_dos(predictions, targets, mask, *, grad_weight, int_weight, module=released):
    """Predictions (B, N + E), targets and mask (B, N); the convention is that of the release."""
    extra = predictions.shape[1] - targets.shape[1]
    loss = module.MaskedDOSLoss(TARGET, None, 1.0, grad_weight, int_weight, extra, "mean")
    # The release multiplies by its mask, where a NaN would stay one: its data have zeros there.
    targets = torch.where(mask, targets, torch.nan_to_num(targets))
    padding = torch.zeros((len(targets), extra), dtype=targets.dtype)
    targets, mask = (torch.cat([padding, x], dim=1) for x in (targets, mask.to(targets.dtype)))
    return loss.compute(named(predictions), named(targets), {f"{TARGET}_mask": named(mask)[TARGET]})


def named(values):
    """The rows of `values` as a target of one structure each."""
    structures, points = values.shape
    block = TensorBlock(values, Labels.range("system", structures), [], Labels.range("energy", points))
    return {TARGET: TensorMap(Labels.single(), [block])}


# %%
if __name__ == "__main__":
    import refloss

    known = {"energy_step": 0.05, "reduction": "mean"}
    # ShiftAgnosticMSE computes in float32 whatever it is given.
    for name, candidate, dtype in (
        ("ShiftAgnosticMSE", shift_agnostic_mse, "float32"),
        ("MaskedDOSLoss", masked_dos, "float64"),
    ):
        if hasattr(released, name):
            report = refloss.crosscheck(candidate, candidate.__name__, dtype=dtype, arrays="torch", params=known)
            print(report.summary())
