# %% [markdown]
# # masked_dos in JAX, checked
#
# The loss of one structure as a function of arrays of fixed shape, `vmap` for the batch, `grad` for the derivative,
# `jit` for the whole. `refloss.crosscheck` says whether it is right:
#
#     refloss crosscheck examples/masked_dos_jax.py:masked_dos --loss masked_dos --arrays jax --convention intended
#
# Needs JAX.

# %%
from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnames="reduction")
def masked_dos(predictions, targets, mask, *, energy_step, grad_weight, int_weight, reduction):
    """Predictions (B, N + E), targets and mask (B, N); the convention is "intended"."""
    structure = partial(one_structure, dx=energy_step, grad_weight=grad_weight, int_weight=int_weight)
    per_structure, (shift, terms) = jax.vmap(structure)(predictions, targets, mask)
    value = {"mean": per_structure.mean(), "sum": per_structure.sum(), "none": per_structure}[reduction]
    return {"value": value, "per_structure": per_structure, "shift": shift, "terms": terms}


def one_structure(p, t, m, *, dx, grad_weight, int_weight):
    points = t.size
    t = jnp.where(jnp.isnan(t), 0, t)  # NaN may stand where the mask is false
    shift = align(jax.lax.stop_gradient(p), t, m)
    a = jax.lax.dynamic_slice(p, (shift,), (points,))

    dos = dx * jnp.sum(jnp.where(m, a - t, 0) ** 2 * trapezoid(points, p.dtype))
    j = jnp.arange(p.size)
    in_front = jnp.where((j == 0) | (j == shift), 0.5, 1.0).astype(p.dtype) * ((j <= shift) & (shift > 0))
    front_tail = dx * jnp.sum(in_front * p**2)

    counted = jax.lax.dynamic_update_slice(j < shift, m, (shift,))[4:]
    steep = slope(p, dx)
    unmasked_gradient = dx * jnp.sum(jnp.where(counted, 0, steep**2) * trapezoid(steep.size, p.dtype))

    error = a - t
    cumulated = dx * jnp.cumsum((error[:-1] + error[1:]) / 2)
    cumulative = dx * jnp.sum(jnp.where(m[1:], cumulated**2, 0) * trapezoid(points - 1, p.dtype))

    loss = dos + front_tail + grad_weight * unmasked_gradient + int_weight * cumulative
    names = ("dos", "front_tail", "unmasked_gradient", "cumulative")
    return loss, (shift, dict(zip(names, (dos, front_tail, unmasked_gradient, cumulative), strict=True)))


def align(p, t, m):
    """The first of the shifts at which misfit and front tail together are least."""
    shifts = p.size - t.size + 1
    windows = p[jnp.arange(shifts)[:, None] + jnp.arange(t.size)]
    misfit = jnp.sum(jnp.where(m, windows - t, 0) ** 2 * trapezoid(t.size, p.dtype), axis=1)
    squares = p[:shifts] ** 2
    tail = jnp.cumsum(squares) - (squares[0] + squares) / 2
    return jnp.argmin(misfit + tail)


def trapezoid(points, dtype):
    weights = jnp.ones(points, dtype)
    return weights.at[:1].add(-0.5).at[-1:].add(-0.5)


def slope(p, dx):
    """The backward difference of fourth order, from the fifth point on."""
    if p.size < 5:
        return p[:0]
    return (3 * p[:-4] - 16 * p[1:-3] + 36 * p[2:-2] - 48 * p[3:-1] + 25 * p[4:]) / (12 * dx)


# %%
if __name__ == "__main__":
    import refloss

    jax.config.update("jax_enable_x64", True)  # float64 is off unless asked for; JAX_ENABLE_X64=1 does the same
    for dtype in ("float64", "float32"):
        report = refloss.crosscheck(masked_dos, "masked_dos", dtype=dtype, arrays="jax", convention="intended")
        print(report.summary())
        report.raise_for_failures()
