# %% [markdown]
# # masked_dos through torch.compile, checked
#
# The compiler fuses, reorders and vectorises, so its figures are not those of the eager code to the last bit. Are they
# right? On a GPU:
#
#     refloss crosscheck examples/masked_dos_compiled.py:masked_dos --loss masked_dos --arrays torch --device cuda \
#         --convention intended
#
# Needs torch, and for the CPU a C++ compiler.
#
# What was run: torch 2.13.0 on a CPU, float32, all 104 cases, which take six minutes on two cores. Values are right,
# and the gradient is wrong in two cases, masked_dos/minimal/B2-N3-E2/0 and masked_dos/minimal/B3-N5-E0/0, both with
# predictions of five points: what flows back through the window is lost. With `backend="aot_eager"` the first of them
# is right, so that it is the generated code that is not. What was not run: a GPU.

# %%
import importlib.util
from pathlib import Path

import torch

PATH = Path(__file__).with_name("masked_dos_torch.py")
spec = importlib.util.spec_from_file_location("masked_dos_torch", PATH)
eager = importlib.util.module_from_spec(spec)
spec.loader.exec_module(eager)

# One graph for all sizes of a batch, where `dynamic` can have its way; sizes of 0 and 1, and each reduction, are graphs
# of their own. Beyond its limit of graphs torch runs the eager code, and the check would be one of that.
torch._dynamo.config.recompile_limit = 256
compiled = torch.compile(eager.masked_dos, dynamic=True)


def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    """Predictions (B, N + E), targets and mask (B, N); the convention is "intended"."""
    # As tensors, numbers are inputs of the graph, not constants in it.
    numbers = (predictions.new_tensor(number) for number in (energy_step, grad_weight, int_weight))
    energy_step, grad_weight, int_weight = numbers
    return compiled(
        predictions, targets, mask, energy_step=energy_step, grad_weight=grad_weight, int_weight=int_weight,
        reduction=reduction,
    )  # fmt: skip


# %%
if __name__ == "__main__":
    import refloss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in ("float64", "float32"):
        report = refloss.crosscheck(
            masked_dos, "masked_dos", dtype=dtype, arrays="torch", device=device, convention="intended"
        )
        print(report.summary())
