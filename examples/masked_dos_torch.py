# %% [markdown]
# # masked_dos in torch, checked
#
# The loss as a port to torch has it: all structures and shifts at once, nothing in a Python loop, the gradient left to
# autograd. `refloss.crosscheck` says whether it is right:
#
#     refloss crosscheck examples/masked_dos_torch.py:masked_dos --loss masked_dos --arrays torch --convention intended
#
# Needs torch. `--device cuda` runs the same code on a GPU.

# %%
import torch


def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    """Predictions (B, N + E), targets and mask (B, N); the convention is "intended"."""
    points = targets.shape[1]
    targets = torch.where(mask, targets, torch.nan_to_num(targets))  # NaN may stand where the mask is false
    weights = trapezoid(points, predictions)

    # The alignment is a choice, not a function to differentiate.
    with torch.no_grad():
        windows = predictions.unfold(1, points, 1)  # (B, S, N), a view: nothing is copied
        residual = torch.where(mask[:, None], windows - targets[:, None], 0)
        misfit = (residual.square() * weights).sum(-1)
        squares = predictions[:, : windows.shape[1]].square()
        # The trapezoid rule over points 0 to s: all of them, less half of the first and half of the last.
        tail = torch.cumsum(squares, 1) - (squares[:, :1] + squares) / 2
        shift = (misfit + tail).argmin(1)

    at = shift[:, None] + torch.arange(points, device=shift.device)
    aligned = predictions.gather(1, at)
    dos = (torch.where(mask, aligned - targets, 0).square() * weights).sum(1) * energy_step

    # What depends on where the window begins is a matter of weights.
    j = torch.arange(predictions.shape[1], device=shift.device)
    s = shift[:, None]
    in_front = torch.where((j > 0) & (j < s), 1.0, 0.5) * ((j <= s) & (s > 0))
    front_tail = (in_front.to(predictions) * predictions.square()).sum(1) * energy_step

    steep = slope(predictions, energy_step)
    counted = torch.scatter(j < s, 1, at, mask)
    free = (~counted[:, 4:]).to(predictions) * trapezoid(steep.shape[1], predictions)
    unmasked_gradient = (free * steep.square()).sum(1) * energy_step

    error = aligned - targets
    cumulated = torch.cumsum((error[:, :-1] + error[:, 1:]) / 2, 1) * energy_step
    inner = torch.where(mask[:, 1:], trapezoid(points - 1, predictions), 0)
    cumulative = (inner * cumulated.square()).sum(1) * energy_step

    per_structure = dos + front_tail + grad_weight * unmasked_gradient + int_weight * cumulative
    value = {"mean": per_structure.mean(), "sum": per_structure.sum(), "none": per_structure}[reduction]
    terms = {
        "dos": dos, "front_tail": front_tail, "unmasked_gradient": unmasked_gradient, "cumulative": cumulative,
    }  # fmt: skip
    return {"value": value, "per_structure": per_structure, "shift": shift, "terms": terms}


def trapezoid(points, like):
    weights = torch.ones(points, dtype=like.dtype, device=like.device)
    weights[:1] -= 0.5
    weights[-1:] -= 0.5
    return weights


def slope(p, dx):
    """The backward difference of fourth order, from the fifth point on."""
    if p.shape[1] < 5:
        return p[:, :0]
    return (3 * p[:, :-4] - 16 * p[:, 1:-3] + 36 * p[:, 2:-2] - 48 * p[:, 3:-1] + 25 * p[:, 4:]) / (12 * dx)


# %%
if __name__ == "__main__":
    import refloss

    for dtype in ("float64", "float32"):
        report = refloss.crosscheck(masked_dos, "masked_dos", dtype=dtype, arrays="torch", convention="intended")
        print(report.summary())
        report.raise_for_failures()
