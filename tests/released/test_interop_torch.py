"""The golden losses as differentiable torch scalars."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sections import FULL, energies, in_blocks, normal, reseed, section

import refloss
from refloss import InputError
from refloss.interop import torch as golden

B = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    reseed()


def tensor(*shape: int) -> Any:
    return torch.from_numpy(normal(*shape))


def leaf(*shape: int) -> Any:
    return tensor(*shape).requires_grad_()


# ---- each loss -------------------------------------------------------------------------------------------------------


def pointwise() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    for name in ("mse", "mae", "huber"):
        t, mask = tensor(B, 4), torch.from_numpy(normal(B, 4) > -0.5)
        t[1, 2] = torch.nan
        for reduction in ("mean", "sum", "none"):
            yield (
                name,
                lambda x, t=t, m=mask, n=name, r=reduction: getattr(golden, n)(x, t, mask=m, reduction=r),
                (leaf(B, 4),),
            )


def aligned() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    conventions = {
        "masked_dos": ("documented", "intended", "metatrain-2026.2", "metatrain-2025.12"),
        "shift_agnostic_mse": ("intended", "metatrain-2026.3"),
    }
    for name, known in conventions.items():
        t, mask = tensor(B, 9), torch.from_numpy(normal(B, 9) > -0.5)
        arguments = (t, mask) if name == "masked_dos" else (t,)
        for convention in known:
            for reduction in ("mean",) if convention.startswith("metatrain") else ("mean", "sum", "none"):
                keywords = {"convention": convention, "reduction": reduction}
                yield name, lambda x, n=name, a=arguments, k=keywords: getattr(golden, n)(x, *a, **k), (leaf(B, 14),)


def ensembles() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    t = tensor(B, 2)
    t[1, 1] = torch.nan
    for reduction in ("mean", "sum", "none"):
        for name in ("gaussian_nll", "gaussian_crps"):
            variance = torch.from_numpy(normal(B, 2) ** 2 + 0.3).requires_grad_()
            yield (
                name,
                lambda x, v, n=name, r=reduction: getattr(golden, n)(x, t, v, reduction=r),
                (leaf(B, 2), variance),
            )
        yield "empirical_crps", lambda x, r=reduction: golden.empirical_crps(x, t, reduction=r), (leaf(B, 2, 5),)


@pytest.mark.parametrize("cases", [pointwise, aligned, ensembles])
def test_gradcheck(cases: Callable[[], Iterator[Any]]) -> None:
    """gradcheck multiplies by generic cotangents, so that for "none" each entry must find its own elements."""
    names = set()
    for name, loss, inputs in cases():
        assert torch.autograd.gradcheck(loss, inputs), name
        names.add(name)
    assert names == {n for n in names if callable(getattr(refloss, n))}
    assert len(names) in (2, 3)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "masked_dos", "shift_agnostic_mse"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_value_and_gradient_are_the_golden_ones(name: str, reduction: str) -> None:
    p, arguments = leaf(B, 7), [tensor(B, 5 if name in ("masked_dos", "shift_agnostic_mse") else 7)]
    if name == "masked_dos":
        arguments.append(torch.ones(B, 5))
    wanted = getattr(refloss, name)(p, *arguments, reduction=reduction, grad=True)
    found = getattr(golden, name)(p, *arguments, reduction=reduction)
    assert np.array_equal(found.detach().numpy(), wanted.value)
    found.sum().backward()
    assert np.array_equal(p.grad.numpy(), wanted.grad)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("mse", torch.nn.functional.mse_loss),
        ("mae", torch.nn.functional.l1_loss),
        ("huber", torch.nn.functional.huber_loss),
    ],
)
def test_torch_s_own_losses_agree(name: str, other: Any) -> None:
    p, t, q = leaf(5, 4), tensor(5, 4), leaf(5, 4)
    q.data = p.data.clone()
    found, wanted = getattr(golden, name)(p, t), other(q, t)
    found.backward()
    wanted.backward()
    # torch adds 20 numbers, with an error of at most 19 · 2⁻⁵³ of their sum.
    torch.testing.assert_close(found, wanted, rtol=3e-15, atol=0)
    torch.testing.assert_close(p.grad, q.grad, rtol=3e-15, atol=0)


def test_signatures_are_those_of_the_entry_points_without_grad() -> None:
    for name in ("mse", "masked_dos", "gaussian_nll"):
        wanted = dict(inspect.signature(getattr(refloss, name)).parameters)
        del wanted["grad"]
        assert dict(inspect.signature(getattr(golden, name)).parameters) == wanted
    with pytest.raises(TypeError, match="grad"):
        golden.mse(leaf(2), tensor(2), grad=True)


# ---- tensors of every kind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precision(dtype: Any) -> None:
    """The figures are those of the values as they are; value and gradient are rounded once, at the end."""
    p = tensor(B, 4).to(dtype).requires_grad_()
    t = tensor(B, 4)
    wanted = refloss.mse(p.detach().double(), t, grad=True)
    found = golden.mse(p, t)
    assert found.dtype == torch.float32
    assert found.item() == np.float32(wanted.value)
    (4096 * found).backward()  # as a gradient scaler does
    assert p.grad.dtype == dtype
    assert torch.equal(p.grad, torch.from_numpy(4096 * wanted.grad).to(dtype))


def test_integers_give_the_exact_value() -> None:
    found = golden.mse(torch.tensor([2**24 + 1, 0]), torch.zeros(2), reduction="sum")
    assert (found.dtype, found.item()) == (torch.float64, float((2**24 + 1) ** 2))


def test_what_a_dtype_cannot_hold_is_infinite_there() -> None:
    """As in torch; a gradient scaler looks for it. The exact figure of a section is in `last`."""
    loss, p = golden.section({"loss": {"a": "mse"}}), torch.tensor([6e4], dtype=torch.float16, requires_grad=True)
    (1e36 * loss({"a": p}, {"a": torch.zeros(1)})).backward()
    assert p.grad.isinf().all()
    p = torch.tensor([3e38], requires_grad=True)
    assert loss({"a": p}, {"a": torch.zeros(1)}).isinf()
    assert loss.last.total == refloss.mse(p, [0.0]).value


def test_views() -> None:
    base = leaf(4, B, 6)
    p, t = base.transpose(0, 1)[:, ::2, 1:5].reshape(B, -1), tensor(B, 8)
    golden.mse(p, t).backward()
    wanted = refloss.mse(p, t, grad=True).grad
    found = base.grad.transpose(0, 1)[:, ::2, 1:5].reshape(B, -1)
    assert np.array_equal(found.numpy(), wanted)
    one = leaf(1, 4)
    golden.mse(one.expand(B, 4), t[:, :4], reduction="sum").backward()
    torch.testing.assert_close(one.grad, 2 * (one.detach() - t[:, :4]).sum(0, keepdim=True))


def test_scalars() -> None:
    for reduction in ("mean", "none"):
        p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        golden.mse(p, 1.0, reduction=reduction).sum().backward()
        assert p.grad == 4.0


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device, and gives its numbers to the CPU when it is told to go there."""

    @staticmethod
    def __new__(cls, held: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device="meta", requires_grad=True)

    def __init__(self, held: Any) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        source = args[0]
        if func is torch.ops.aten._to_copy.default and isinstance(source, cls):
            return source.held.clone()
        if func is torch.ops.aten.detach.default:
            return cls(source.held)
        raise AssertionError(f"{func} on the device")


def test_tensors_on_another_device_come_and_go_by_copy() -> None:
    held, t = tensor(B, 4), tensor(B, 4)
    p = Elsewhere(held)
    found = golden.mse(p, t)
    assert found.device.type == "meta"
    (back,) = torch.autograd.grad(found, p, Elsewhere(torch.tensor(2.0, dtype=torch.float64)))
    assert (back.device.type, back.shape, back.dtype) == ("meta", p.shape, p.dtype)
    with torch.no_grad():
        assert golden.mse(held, Elsewhere(t)).item() == refloss.mse(held, t).value


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda() -> None:
    p, t = leaf(B, 4), tensor(B, 4)
    q = p.detach().to("cuda", torch.float32).requires_grad_()
    found = golden.mse(q, t.cuda())
    found.backward()
    wanted = refloss.mse(q, t, grad=True)
    assert found.device.type == q.grad.device.type == "cuda"
    assert found.item() == np.float32(wanted.value)
    assert np.array_equal(q.grad.cpu().numpy(), wanted.grad.astype(np.float32))


# ---- when there is a gradient ----------------------------------------------------------------------------------------


def test_without_gradients() -> None:
    p, t = leaf(B, 4), tensor(B, 4)
    wanted = refloss.mse(p, t).value
    with torch.no_grad():
        found = golden.mse(p, t.clone().requires_grad_())
    assert (found.requires_grad, found.item()) == (False, wanted)
    with torch.inference_mode():
        assert golden.mse(p, t).item() == wanted
    found = golden.mse(p.detach(), t)
    assert (found.requires_grad, found.item()) == (False, wanted)


def test_one_of_two_inputs() -> None:
    mean, variance = leaf(B), torch.rand(B, dtype=torch.float64) + 0.5
    golden.gaussian_nll(mean, tensor(B), variance).backward()
    assert mean.grad is not None
    assert variance.grad is None


def test_a_graph_that_is_kept_can_be_used_again() -> None:
    p, t = leaf(B, 4), tensor(B, 4)
    found = golden.mse(p, t)
    found.backward(retain_graph=True)
    once = p.grad.clone()
    p.data.zero_()  # the gradient is of the predictions that were given
    found.backward()
    assert torch.equal(p.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        found.backward()


def test_there_is_no_second_derivative_and_it_says_so() -> None:
    """Left to itself, torch would take the first derivative for a constant and leave its share out without a word."""
    p, t = leaf(B, 4), tensor(B, 4)
    with pytest.raises(RuntimeError, match=r"create_graph=True.*first derivative alone"):
        torch.autograd.grad(golden.mse(p, t), p, create_graph=True)


def test_a_derivative_that_does_not_exist_is_not_left_out() -> None:
    p, t = leaf(B, 4), leaf(B, 4)
    with pytest.raises(InputError, match="targets: found a tensor that requires a gradient"):
        golden.mse(p, t)
    with pytest.raises(InputError, match="predictions: found ndarray, expected a torch tensor"):
        golden.mse(p.detach().numpy(), t.detach())
    with pytest.raises(InputError, match=r"targets\['a'\]: found a tensor that requires a gradient"):
        golden.section({"loss": {"a": "mse"}})({"a": p}, {"a": {"values": t}})


@pytest.mark.parametrize("loss", [golden.mse, lambda p, t: golden.section({"loss": {"a": "mse"}})({"a": p}, {"a": t})])
@pytest.mark.filterwarnings("ignore")  # torch's compiler looks at .grad of what is no leaf, and warns itself
def test_a_compiled_program_leaves_the_losses_alone(loss: Any) -> None:
    """Left to itself the compiler traces NumPy too, and puts torch's functions in the place of NumPy's."""
    p, t = leaf(B, 4), tensor(B, 4)
    q = p.detach().clone().requires_grad_()
    found = torch.compile(lambda x: 3 * loss(2 * x, t), backend="eager")(p)
    wanted = 3 * loss(2 * q, t)
    assert found.item() == wanted.item()
    found.backward()
    wanted.backward()
    assert torch.equal(p.grad, q.grad)
    with pytest.raises(Exception, match="disable"):
        torch.compile(lambda x: golden.mse(x, t), backend="eager", fullgraph=True)(p)


def test_bad_input_is_refused_as_everywhere() -> None:
    with pytest.raises(InputError, match="predictions: found 1 value that is NaN or infinite"):
        golden.mse(torch.tensor([1.0, torch.nan], requires_grad=True), tensor(2))


# ---- a whole section -------------------------------------------------------------------------------------------------


def leaves(data: dict[str, np.ndarray]) -> dict[str, Any]:
    return {key: torch.from_numpy(array).requires_grad_() for key, array in data.items()}


def test_a_section() -> None:
    p, t, atoms = leaves(energies()), energies(), [3, 1, 2, 5]
    loss = golden.section({"loss": FULL})
    found = loss({"energy": p}, {"energy": t}, num_atoms=atoms)
    wanted = section(FULL).evaluate({"energy": p}, {"energy": t}, num_atoms=atoms, grad=True)
    assert found.item() == wanted.total == loss.last.total
    (2 * found).backward()
    for key, item in p.items():
        assert np.array_equal(item.grad.numpy(), 2 * wanted.gradient()["energy"][key])
    assert list(loss.last.terms) == ["energy", "energy/positions", "energy/strain"]


def test_a_section_in_blocks_and_what_it_does_not_read() -> None:
    p, t = [leaf(2, 3), leaf(4)], [tensor(2, 3), tensor(4)]
    unread = leaf(2)
    loss = golden.section(section({"s": {"type": "mae", "reduction": "sum"}}))
    loss({"s": in_blocks(*p), "other": unread}, {"s": in_blocks(*t), "other": tensor(2)}).backward()
    for item, target in zip(p, t, strict=True):
        assert torch.equal(item.grad, torch.sign(item.detach() - target))
    assert unread.grad is None
    assert loss.last.skipped == {"other": "not in the loss section"}


def test_gradcheck_of_a_section() -> None:
    loss = golden.section(
        {"loss": {"energy": {"type": "huber", "forces": "mse"}, "dos": {"type": "masked_dos", "weight": 0.3}}}
    )
    t = {"energy": {"values": tensor(B, 1), "positions": tensor(4, 3)}, "dos": tensor(B, 6)}
    mask = {"dos_mask": torch.ones(B, 6)}

    def total(values: Any, positions: Any, dos: Any) -> Any:
        data = {"energy": {"values": values, "positions": positions}, "dos": dos}
        return loss(data, t, mask, num_atoms=[2, 1, 1], per_structure_targets=["dos"])

    assert torch.autograd.gradcheck(total, (leaf(B, 1), leaf(4, 3), leaf(B, 9)))


def test_what_is_kept_of_a_section_is_no_tensor() -> None:
    """`last` would otherwise keep the graph of the whole model alive until the next step."""
    loss, model, x = golden.section({"loss": {"a": "mse"}}), torch.nn.Linear(3, 1), torch.ones(2, 3)
    prediction = model(x)
    kept = weakref.ref(prediction)
    loss({"a": prediction}, {"a": torch.zeros(2, 1)}).backward()
    del prediction
    gc.collect()
    assert kept() is None
    assert loss.last.gradient()["a"]["values"].shape == (2, 1)
    assert copy.deepcopy(loss).last.total == loss.last.total


def test_what_a_section_refuses() -> None:
    p, t = {"a": leaf(B)}, {"a": tensor(B)}
    with pytest.raises(InputError, match="reduction 'none' in a, expected the reductions mean or sum"):
        golden.section({"loss": {"a": {"type": "mse", "reduction": "none"}}})(p, t)
    with pytest.raises(InputError, match="predictions: found no torch tensor"):
        golden.section({"loss": {"a": "mse"}})({"a": [1.0]}, {"a": [2.0]})
    with pytest.raises(InputError, match="predictions: found list, expected a mapping"):
        golden.section({"loss": {"a": "mse"}})([1.0], t)


def test_a_training_run_is_the_one_that_torch_would_make() -> None:
    """Twenty steps of the same model from the same start, one driven by torch's loss and one by the golden one."""
    x, y = tensor(32, 3), tensor(32, 1)
    weights = []
    for loss in (torch.nn.MSELoss(), lambda p, t: golden.section({"loss": {"y": "mse"}})({"y": p}, {"y": t})):
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 1, dtype=torch.float64)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
        weights.append(model.weight.detach())
    # Twenty steps add up twenty roundings of gradients; Adam divides by their size, which no step lets vanish.
    torch.testing.assert_close(*weights, rtol=1e-12, atol=1e-12)


def test_the_snippet_of_the_readme(tmp_path: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (snippet,) = (item for item in snippets if "import torch" in item)
    script = tmp_path / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    total, count = done.stdout.split()
    assert float(total) > 0
    assert count == "64"
