# %% [markdown]
# # masked_dos in Triton, checked
#
# Three kernels: the objective at every shift, the terms at the best one, and the gradient. On a GPU:
#
#     refloss crosscheck examples/masked_dos_triton.py:masked_dos --loss masked_dos --arrays torch --device cuda \
#         --convention intended
#
# Needs torch, Triton and a GPU; or, to try the arithmetic without one, the interpreter, which runs kernels as NumPy:
# set TRITON_INTERPRET=1.
#
# What was run: these kernels in the interpreter of Triton 3.9.0, on a CPU, in float64 and float32, through all cases of
# the core suite: right in all. And the compiler, for compute capability 9.0 and inputs of float64, float32, bfloat16
# and float16: it makes a binary of each. What was not run: these binaries, for want of a GPU.

# %%
import os

import torch
import triton
import triton.language as tl

BLOCK = 128


def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    """Predictions (B, N + E), targets and mask (B, N); the convention is "intended". Sums in float32 or float64."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not predictions.is_cuda and not interpreted:
        raise RuntimeError(
            f"masked_dos in Triton: found arrays on {predictions.device}, expected a GPU (--device cuda), "
            "or TRITON_INTERPRET=1 in the environment to run the kernels as NumPy"
        )
    kind = torch.promote_types(predictions.dtype, torch.float32)
    sums = tl.float64 if kind == torch.float64 else tl.float32
    p, t = predictions.detach().contiguous(), targets.contiguous()
    m = mask.to(torch.int8).contiguous()
    (batch, width), points = p.shape, t.shape[1]
    shifts = width - points + 1
    # A Python float would reach a kernel as a float32.
    numbers = torch.tensor([energy_step, grad_weight, int_weight], dtype=kind, device=p.device)

    objective = p.new_empty((batch, shifts), dtype=kind)
    objective_kernel[(batch, shifts)](p, t, m, objective, points, width, SUMS=sums, BLOCK=BLOCK)
    shift = objective.argmin(1)

    terms = p.new_empty((4, batch), dtype=kind)
    # What the gradient needs of the running sum: for point i, the derivative by the step from i − 1 to i.
    steps = p.new_zeros((batch, points + 1), dtype=kind)
    terms_kernel[(batch,)](p, t, m, shift, numbers, terms, steps, batch, points, width, SUMS=sums, BLOCK=BLOCK)

    grad = p.new_empty((batch, width), dtype=kind)
    blocks = (batch, triton.cdiv(width, BLOCK))
    gradient_kernel[blocks](p, t, m, shift, numbers, steps, grad, points, width, SUMS=sums, BLOCK=BLOCK)

    dos, front_tail, unmasked_gradient, cumulative = terms
    per_structure = dos + front_tail + numbers[1] * unmasked_gradient + numbers[2] * cumulative
    value = {"mean": per_structure.mean(), "sum": per_structure.sum(), "none": per_structure}[reduction]
    return {
        "value": value,
        "per_structure": per_structure,
        "shift": shift,
        "terms": {
            "dos": dos, "front_tail": front_tail, "unmasked_gradient": unmasked_gradient, "cumulative": cumulative,
        },
        "grad": grad / batch if reduction == "mean" else grad,
    }  # fmt: skip


# %% The trapezoid rule's weights, and one misfit: p at s + i less t at i, as far as the mask goes.
@triton.jit
def halves(i, points):
    """Weight of point i of `points`; a single point has no width."""
    return tl.where((i == 0) | (i == points - 1), 0.5, 1.0) * tl.where(points > 1, 1.0, 0.0)


@triton.jit
def residual(p, t, b, i, s, points, width, SUMS: tl.constexpr):
    inside = (i >= 0) & (i < points)
    target = tl.load(t + b * points + i, mask=inside, other=0.0).to(SUMS)
    target = tl.where(target == target, target, 0.0)  # NaN may stand where the mask is false
    return tl.load(p + b * width + s + i, mask=inside, other=0.0).to(SUMS) - target


@triton.jit
def counted(m, b, i, points):
    return tl.load(m + b * points + i, mask=(i >= 0) & (i < points), other=0) != 0


# %% The objective, but for the energy step: one program for each structure and shift.
@triton.jit
def objective_kernel(p, t, m, objective, points, width, SUMS: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    s = tl.program_id(1)
    lane = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), SUMS)
    for start in range(0, points, BLOCK):
        i = start + lane
        d = tl.where(counted(m, b, i, points), residual(p, t, b, i, s, points, width, SUMS), 0.0)
        total += halves(i, points) * d * d
    for start in range(0, s + 1, BLOCK):
        j = start + lane
        front = tl.load(p + b * width + j, mask=j <= s, other=0.0).to(SUMS)
        total += halves(j, s + 1) * front * front
    tl.store(objective + b * (width - points + 1) + s, tl.sum(total, axis=0))


# %% The terms at the best shift: one program for each structure.
@triton.jit
def steepness(p, b, j, dx, width, SUMS: tl.constexpr):
    """Backward difference of fourth order; 0 at the first four points."""
    here = (j >= 4) & (j < width)
    row = p + b * width + j
    p0 = tl.load(row - 4, mask=here, other=0.0).to(SUMS)
    p1 = tl.load(row - 3, mask=here, other=0.0).to(SUMS)
    p2 = tl.load(row - 2, mask=here, other=0.0).to(SUMS)
    p3 = tl.load(row - 1, mask=here, other=0.0).to(SUMS)
    p4 = tl.load(row, mask=here, other=0.0).to(SUMS)
    return (3 * p0 - 16 * p1 + 36 * p2 - 48 * p3 + 25 * p4) / (12 * dx)


@triton.jit
def unmasked(m, b, j, s, points, width):
    """Weight of point j in the unmasked gradient: none below the window and where the mask is true."""
    free = (j >= s) & (j >= 4) & (j < width) & (counted(m, b, j - s, points) == 0)
    return tl.where(free, halves(j - 4, width - 4), 0.0)


@triton.jit
def terms_kernel(p, t, m, shift, numbers, terms, steps, batch, points, width, SUMS: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    s = tl.load(shift + b)
    dx = tl.load(numbers)
    lane = tl.arange(0, BLOCK)

    dos = tl.zeros((BLOCK,), SUMS)
    cumulative = tl.zeros((BLOCK,), SUMS)
    before = tl.zeros((1,), SUMS)
    for start in range(0, points, BLOCK):
        i = start + lane
        r = residual(p, t, b, i, s, points, width, SUMS)
        own = counted(m, b, i, points)
        d = tl.where(own, r, 0.0)
        dos += halves(i, points) * d * d
        step = tl.where((i > 0) & (i < points), (residual(p, t, b, i - 1, s, points, width, SUMS) + r) / 2, 0.0)
        c = dx * (before + tl.cumsum(step, axis=0))
        before += tl.sum(step, axis=0)
        w = tl.where(own & (i > 0), halves(i - 1, points - 1), 0.0)
        cumulative += w * c * c
        tl.store(steps + b * (points + 1) + i, 2 * dx * w * c, mask=i < points)

    front = tl.zeros((BLOCK,), SUMS)
    for start in range(0, s + 1, BLOCK):
        j = start + lane
        x = tl.load(p + b * width + j, mask=j <= s, other=0.0).to(SUMS)
        front += halves(j, s + 1) * x * x

    gradient = tl.zeros((BLOCK,), SUMS)
    for start in range(0, width, BLOCK):
        j = start + lane
        g = steepness(p, b, j, dx, width, SUMS)
        gradient += unmasked(m, b, j, s, points, width) * g * g

    tl.store(terms + b, dx * tl.sum(dos, axis=0))
    tl.store(terms + batch + b, dx * tl.sum(front, axis=0))
    tl.store(terms + 2 * batch + b, dx * tl.sum(gradient, axis=0))
    tl.store(terms + 3 * batch + b, dx * tl.sum(cumulative, axis=0))

    # From the last point to the first: what each step does to all running sums after it.
    tl.debug_barrier()
    behind = tl.zeros((1,), SUMS)
    blocks = (points + BLOCK - 1) // BLOCK
    for k in range(blocks):
        i = (blocks - 1 - k) * BLOCK + lane
        x = tl.load(steps + b * (points + 1) + i, mask=i < points, other=0.0)
        later = behind + tl.cumsum(x, axis=0, reverse=True)
        behind += tl.sum(x, axis=0)
        tl.store(steps + b * (points + 1) + i, tl.where(i > 0, dx * later / 2, 0.0), mask=i < points)


# %% The gradient, not yet divided by the number of structures: one program for each block of points.
@triton.jit
def gradient_kernel(p, t, m, shift, numbers, steps, grad, points, width, SUMS: tl.constexpr, BLOCK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    s = tl.load(shift + b)
    dx = tl.load(numbers)
    i = j - s
    inside = (i >= 0) & (i < points)

    d = tl.where(counted(m, b, i, points), residual(p, t, b, i, s, points, width, SUMS), 0.0)
    slope = 2 * dx * halves(i, points) * d

    x = tl.load(p + b * width + j, mask=j <= s, other=0.0).to(SUMS)
    slope += tl.where(j <= s, 2 * dx * halves(j, s + 1) * x, 0.0)

    # A point is in the differences of the four after it, too.
    back = tl.zeros((BLOCK,), SUMS)
    back += 25 * unmasked(m, b, j, s, points, width) * steepness(p, b, j, dx, width, SUMS)
    back -= 48 * unmasked(m, b, j + 1, s, points, width) * steepness(p, b, j + 1, dx, width, SUMS)
    back += 36 * unmasked(m, b, j + 2, s, points, width) * steepness(p, b, j + 2, dx, width, SUMS)
    back -= 16 * unmasked(m, b, j + 3, s, points, width) * steepness(p, b, j + 3, dx, width, SUMS)
    back += 3 * unmasked(m, b, j + 4, s, points, width) * steepness(p, b, j + 4, dx, width, SUMS)
    slope += tl.load(numbers + 1) * 2 * dx * back / (12 * dx)

    # And in two steps of the running sum: the one that ends at it, and the one that begins.
    row = steps + b * (points + 1) + i
    around = tl.load(row, mask=inside, other=0.0) + tl.load(row + 1, mask=inside, other=0.0)
    slope += tl.load(numbers + 2) * around
    tl.store(grad + b * width + j, slope, mask=j < width)


# %%
if __name__ == "__main__":
    import refloss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in ("float64", "float32"):
        report = refloss.crosscheck(
            masked_dos, "masked_dos", dtype=dtype, arrays="torch", device=device, convention="intended"
        )
        print(report.summary())
        report.raise_for_failures()
