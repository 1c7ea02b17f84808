"""Golden vectors: the committed set is what refloss writes, exact and strict; results are judged as a candidate is."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from refloss.cli.main import main
from refloss.conventions import LOSSES as CONVENTIONS
from refloss.crosscheck import recorded, vectors, vectors_schema
from refloss.crosscheck.judgements import Verdict
from refloss.crosscheck.suites import LOSSES
from refloss.errors import InputError

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "vectors" / "v1"
SOURCE = ROOT / "examples" / "c" / "masked_dos.c"


@pytest.fixture(scope="module")
def read() -> dict[str, vectors.Vectors]:
    return {f"{found.loss}-{found.format.name}": found for found in vectors.read(COMMITTED)}


def entries(found: vectors.Vectors) -> list[dict[str, Any]]:
    path = COMMITTED / f"{found.loss}-{found.format.name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["cases"]


def golden_results(found: vectors.Vectors, convention: str) -> dict[str, dict[str, Any]]:
    """Return results that are the golden figures, as another program would write them."""
    results = {}
    for entry in entries(found):
        figures = entry["golden"].get(convention)
        if figures is not None:
            kept = {k: v for k, v in figures.items() if not k.endswith(".bound") and k != "equivalent_shifts"}
            if "elements" in kept:
                kept["value"] = kept.pop("elements")
            results[entry["id"]] = kept
    return results


def test_the_committed_set_is_what_write_makes_bit_for_bit():
    assert {path.name: path.read_text(encoding="utf-8") for path in COMMITTED.iterdir()} == dict(vectors.files())


def test_the_committed_set_is_small_and_complete():
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) <= 2_000_000
    names = {f"{loss}-{form}.json" for loss in LOSSES for form in ("float64", "float32")}
    assert {path.name for path in COMMITTED.iterdir()} == names | {"schema.json"}
    assert vectors.lint(COMMITTED) == []


def test_files_fit_their_schema_by_an_independent_validator():
    schema = json.loads((COMMITTED / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in COMMITTED.glob("*-*.json"):
        validator.validate(json.loads(path.read_text(encoding="utf-8")))


def test_inputs_come_back_to_the_bit(read):
    current = {case.id: case for found in vectors.current() for case in found.cases}
    assert sorted(current) == sorted(case.id for found in read.values() for case in found.cases)
    for found in read.values():
        for case in found.cases:
            original = current[case.id]
            for name in ("predictions", "targets", "mask"):
                one, other = getattr(case, name), getattr(original, name)
                assert (one is None) == (other is None)
                if one is not None:
                    assert one.shape == other.shape
                    assert np.where(np.isnan(one), 0, one).tobytes() == np.where(np.isnan(other), 0, other).tobytes()
            assert dict(case.params) == dict(original.params)
            assert case.flags == original.flags


@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, -3.0, 0.1, 5e-324, 2.0**-1022, 1.7976931348623157e308, 1e-40])
def test_numbers_are_hexadecimal_exact_and_short(number):
    text = vectors.encode(number)
    assert np.float64(number).tobytes() == vectors.decode(text)[0].tobytes()
    assert not text.partition("p")[0].endswith(("00", ".0", "."))
    assert np.isnan(vectors.decode(vectors.encode(np.nan))).all()


def test_bounds_are_rounded_up():
    for number in (1.0, 1.0000001, 9.999, 3.456789e-12, 1e-320, 1.7e308):
        written = float(vectors._bound(number))
        assert number <= written <= 1.01 * number
    assert vectors._bound(0.0) == "0.00e+0"
    assert vectors._bound(math.inf) == "inf"


@pytest.mark.parametrize("name", [f"{loss}-{form}" for loss in LOSSES for form in ("float64", "float32")])
def test_golden_figures_are_right(read, name):
    found = read[name]
    convention = next(iter(CONVENTIONS.get(found.loss, {"pointwise": None})))
    report = recorded.check(golden_results(found, convention), [found])[0]
    assert report.ok, report.summary()
    assert report.convention == (convention if found.loss in CONVENTIONS else None)
    assert {j.verdict for j in report.judgements} <= {Verdict.exact, Verdict.not_given}


@pytest.mark.parametrize(("factor", "within"), [(0.99, True), (1.5, False)])
def test_bounds_in_the_files_are_those_of_the_verdicts(read, factor, within):
    """The files alone are enough: what is just inside its bound is within it, what is half as far again out is not."""
    found = read["masked_dos-float32"]
    results = {}
    for entry in entries(found):
        figures = entry["golden"]["documented"]
        bounds = vectors.decode(figures["per_structure.bound"])
        moved = vectors.decode(figures["per_structure"]) + factor * np.where(np.isfinite(bounds), bounds, 0.0)
        results[entry["id"]] = {"per_structure": moved.tolist(), "shift": figures["shift"]}
    report = recorded.check(results, [found], convention="documented")[0]
    inside = {Verdict.exact, Verdict.expected, Verdict.within_bound}
    outside = [name for name, verdicts in report.verdicts.items() if verdicts["per_structure"] not in inside]
    assert not outside if within else len(outside) > 0.8 * len(results)


def test_equivalent_shifts_are_right_and_others_are_not(read):
    found = read["masked_dos-float32"]
    entry = next(e for e in entries(found) if "/plateau/" in e["id"] and "documented" in e["golden"])
    allowed = entry["golden"]["documented"]["equivalent_shifts"]
    assert all(len(shifts.split()) > 1 for shifts in allowed)
    results = {identity: {"shift": f["shift"]} for identity, f in golden_results(found, "documented").items()}
    results[entry["id"]]["shift"] = [int(shifts.split()[-1]) for shifts in allowed]
    report = recorded.check(results, [found], convention="documented")[0]
    assert report.ok
    assert report.verdicts[entry["id"]]["shift"] is Verdict.equivalent_shift
    fitted = next(e for e in entries(found) if "/fitted/" in e["id"])
    results[fitted["id"]]["shift"] = [int(s) + 1 for s in fitted["golden"]["documented"]["shift"].split()]
    assert not recorded.check(results, [found], convention="documented")[0].ok


def test_a_missing_case_is_wrong_and_a_missing_file_is_not(read):
    results = golden_results(read["mse-float32"], "pointwise")
    results.popitem()
    reports = recorded.check(results, list(read.values()))
    assert [(report.loss, report.dtype) for report in reports] == [("mse", "float32")]
    assert not reports[0].ok
    assert "there is no result for this case" in reports[0].summary()


def test_results_may_be_numbers_lists_and_strings(read):
    found = read["masked_mse-float64"]
    results = golden_results(found, "pointwise")
    for case in found.cases:
        figures = results[case.id]
        numbers = vectors.decode(figures["value"])
        figures["value"] = f"{numbers[0]:.17g}" if case.params["reduction"] != "none" else numbers.tolist()
        rows = np.array(figures["grad"].split()).reshape(case.predictions.shape)  # hexadecimal, each in its own string
        figures["grad"] = rows.tolist()
    assert recorded.check(results, [found])[0].ok


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown id": (lambda r: r.update({"float32/mse/generic/70/0": {}}), "did you mean 'float32/mse/generic/7/0'"),
    "an unknown figure": (lambda r: r[next(iter(r))].update(values=1.0), "did you mean 'value'"),
    "no number": (lambda r: r[next(iter(r))].update(value="one"), "value: found no numbers"),
    "ragged": (lambda r: r[next(iter(r))].update(grad=[[1.0], [1.0, 2.0]]), "grad: found no numbers"),
    "terms that are no object": (lambda r: r[next(iter(r))].update(terms=[1.0]), "terms: found list"),
    "nothing": (lambda r: r.clear(), "results: found none"),
    "more than float64 holds": (lambda r: r[next(iter(r))].update(value="0x1p99999"), "beyond what float64 holds"),
    "an integer that it does not hold": (lambda r: r[next(iter(r))].update(value=10**400), "found no numbers"),
    "digits in groups": (lambda r: r[next(iter(r))].update(value="1_0"), "found no numbers.*'1_0'"),
    "true": (lambda r: r[next(iter(r))].update(value=True), "found no numbers: true and false"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_results_are_answered(read, name):
    found = read["mse-float32"]
    results = golden_results(found, "pointwise")
    BAD[name][0](results)
    with pytest.raises(InputError, match=BAD[name][1]):
        recorded.check(results, [found])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": {"value": 1.0}, "a": {"value": 2.0}}', "the key 'a' is there twice"),
        ('{"a": {"value": 1.0, "value": 2.0}}', "the key 'value' is there twice"),
        ("[" * 100_000, "recursion"),
        (f'{{"a": {{"value": {"9" * 5000}}}}}', "4300 digits"),
        ("{", "Expecting property name"),
    ],
    ids=["a case twice", "a figure twice", "deep", "a long integer", "not whole"],
)
def test_results_that_are_no_json_or_say_two_things_are_answered(tmp_path, text, said):
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"cannot be read as JSON: .*{said}"):
        recorded.read_results(path)


def test_shifts_that_no_integer_holds_are_wrong_and_no_more(read):
    found = read["masked_dos-float32"]
    results = golden_results(found, "documented")
    case = next(iter(results))
    for word in ("1e300", "inf", "nan"):
        results[case]["shift"] = " ".join([word] * len(results[case]["shift"].split()))
        (report,) = recorded.check(results, [found], convention="documented")
        assert report.verdicts[case]["shift"] is Verdict.wrong_dtype


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Return a copy of two committed files, one of them changed."""
    for name in ("schema.json", "masked_dos-float32.json", "mse-float32.json"):
        shutil.copy(COMMITTED / name, folder)
    path = folder / "masked_dos-float32.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return folder


def first(data: dict[str, Any]) -> dict[str, Any]:
    return data["cases"][0]


def turned(text: str) -> str:
    """Return the numbers of a string, the last one more by a rounding."""
    numbers = vectors.decode(text)
    numbers[-1] = np.float64(np.nextafter(np.float32(numbers[-1]), np.float32(np.inf)))
    return vectors.encode(numbers)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "count": (lambda d: d.update(numberOfCases=1), "numberOfCases: found 1"),
    "an id twice": (lambda d: d["cases"].append(first(d)) or d.update(numberOfCases=len(d["cases"])), "2 cases have"),
    "no note": (lambda d: d["notes"].pop("Random"), "notes: Random has no note"),
    "a note too many": (lambda d: d["notes"].update(HuberKnee="x"), "HuberKnee is the flag of no case"),
    "a key too many": (lambda d: first(d).update(extra=1), "found 'extra', which is none of its keys"),
    "a key too few": (lambda d: first(d).pop("note"), "found no note"),
    "an unknown flag": (lambda d: first(d)["flags"].append("Randm"), "did you mean 'Random'"),
    "a number that is not hexadecimal": (lambda d: first(d).update(targets="0.5 1.0"), "expected a match"),
    "a number in another spelling": (lambda d: first(d).update(targets="0x1.80p+0 0x1p+0"), "not in their shortest"),
    "a number that the format does not hold": (
        lambda d: first(d).update(targets="0x1.8000000001p+0 0x1p+0"),
        "numbers that float32 does not hold",
    ),
    "a number beyond the format": (
        lambda d: first(d).update(targets="0x1p+999 0x1p+0"),
        "numbers that float32 does not hold",
    ),
    "a number beyond float64": (lambda d: first(d).update(targets="0x1p+9999 0x1p+0"), "beyond what float64 holds"),
    "a parameter too few": (lambda d: first(d)["params"].pop("energy_step"), "params: found grad_weight, int_weight"),
    "a parameter of another loss": (lambda d: first(d)["params"].update(delta=1.0), "params: found"),
    "no mask": (lambda d: (first(d).pop("mask"), first(d)["shape"].pop("mask")), "mask: masked_dos takes one"),
    "too few numbers": (lambda d: first(d).update(targets="0x1p+0"), "found 1 numbers for shape"),
    "another figure": (
        lambda d: first(d)["golden"]["documented"].update(grad=turned(first(d)["golden"]["documented"]["grad"])),
        "documented: grad: not what refloss has",
    ),
    "another input": (
        lambda d: first(d).update(predictions=turned(first(d)["predictions"])),
        "documented: value: not what refloss has",
    ),
    "another bound": (
        lambda d: first(d)["golden"]["documented"].update({"value.bound": "1.00e-1"}),
        "documented: value.bound: not what",
    ),
    "a convention too few": (lambda d: first(d)["golden"].pop("intended"), "golden: found"),
    "other switches": (lambda d: d["conventions"]["documented"].update(objective="total"), "conventions: expected"),
    "a newer specification": (lambda d: d.update(specification=99), "specification: found 99"),
    "a negative step": (lambda d: first(d)["params"].update(energy_step=-0.05), "expected a number > 0"),
    "a reduction of the wrong type": (lambda d: first(d)["params"].update(reduction=1), "found 1, expected one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_lint_finds_what_is_wrong(tmp_path, name):
    folder = edited(tmp_path, WRONG[name][0])
    found = vectors.lint(folder)
    assert any(WRONG[name][1] in line for line in found), found
    assert all(line.startswith(("masked_dos-float32.json", "float32/masked_dos")) for line in found)


def test_the_own_validator_rejects_what_the_independent_one_rejects(tmp_path):
    rules = vectors_schema.schema()
    independent = jsonschema.Draft202012Validator(rules)
    rejected = 0
    for name, (change, _) in WRONG.items():
        data = json.loads((COMMITTED / "masked_dos-float32.json").read_text(encoding="utf-8"))
        change(data)
        own = list(vectors_schema.problems(data, rules, rules))
        assert bool(own) == (not independent.is_valid(data)), name
        rejected += bool(own)
    assert rejected >= 6


def test_lint_misses_no_schema_and_no_json(tmp_path):
    folder = edited(tmp_path, lambda data: None)
    assert vectors.lint(folder) == []
    (folder / "schema.json").unlink()
    (folder / "mae-float32.json").write_text("{")
    found = vectors.lint(folder)
    assert any("schema.json: it is missing" in line for line in found)
    assert any("mae-float32.json: cannot be read as JSON" in line for line in found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no JSON files"):
        vectors.lint(tmp_path / "empty")


def test_the_commands(tmp_path, capsys, read):
    assert main(["vectors", "write", str(tmp_path / "set")]) == 0
    assert "17 files" in capsys.readouterr().out
    assert main(["vectors", "lint", str(tmp_path / "set")]) == 0
    (tmp_path / "set" / "schema.json").write_text("{}")
    assert main(["vectors", "lint", str(tmp_path / "set")]) == 1
    assert "not the schema" in capsys.readouterr().out

    results = tmp_path / "results.json"
    given = golden_results(read["huber-float64"], "pointwise") | golden_results(read["mae-float32"], "pointwise")
    results.write_text(json.dumps(given))
    assert main(["vectors", "check", str(results), "--vectors", str(COMMITTED)]) == 0
    told = capsys.readouterr().out
    assert "huber, float64" in told
    assert "mae, float32" in told
    case = next(case for case in read["huber-float64"].cases if "Random" in case.flags)
    given[case.id]["grad"] = (1.001 * vectors.decode(given[case.id]["grad"])).tolist()
    results.write_text(json.dumps(given))
    assert main(["vectors", "check", str(results)]) == 1
    assert case.id in capsys.readouterr().out
    results.write_text("[]")
    assert main(["vectors", "check", str(results)]) == 2
    assert "expected {case id" in capsys.readouterr().err


def compiled(folder: Path, *options: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: cc is not on the path")
    program = folder / "masked_dos"
    strict = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
    subprocess.run([compiler, "-O2", *strict, *options, "-o", program, SOURCE, "-lm"], check=True)
    return program


@pytest.mark.parametrize(("form", "real"), [("float32", "float"), ("float64", "double")])
def test_the_example_in_c_is_right(tmp_path, capsys, form, real):
    program = compiled(tmp_path, f"-DREAL={real}")
    done = subprocess.run([program, COMMITTED / f"masked_dos-{form}.json"], capture_output=True, text=True, check=True)
    results = tmp_path / "results.json"
    results.write_text(done.stdout)
    assert main(["vectors", "check", str(results), "--convention", "documented"]) == 0, capsys.readouterr().out
    assert "right under documented" in capsys.readouterr().out
    assert main(["vectors", "check", str(results), "--convention", "intended"]) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [("25 * a[i]", "24 * a[i]"), ("dos < r.dos", "dos < r.dos / 2"), ("dx / 2 * (before", "dx * (before")],
)
def test_the_example_in_c_with_a_mistake_is_wrong(tmp_path, monkeypatch, capsys, before, after):
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(before) == 1
    mistaken = tmp_path / "mistaken.c"
    mistaken.write_text(text.replace(before, after), encoding="utf-8")
    monkeypatch.setitem(globals(), "SOURCE", mistaken)
    program = compiled(tmp_path)
    done = subprocess.run([program, COMMITTED / "masked_dos-float32.json"], capture_output=True, text=True, check=True)
    (tmp_path / "results.json").write_text(done.stdout)
    assert main(["vectors", "check", str(tmp_path / "results.json")]) == 1


def test_the_guide_names_every_key_and_command():
    guide = (ROOT / "docs" / "vectors.md").read_text(encoding="utf-8")
    rules = vectors_schema.schema()
    keys = {*rules["properties"], *rules["$defs"]["case"]["properties"], *vectors_schema.FIGURES, "equivalent_shifts"}
    assert [key for key in keys if f"`{key}`" not in guide] == []
    lines = [line for line in guide.splitlines() if line.startswith(("cc ", "./masked_dos", "refloss vectors"))]
    for line in SOURCE.read_text(encoding="utf-8").splitlines()[2:5]:
        assert line.strip().replace("masked_dos.c", "examples/c/masked_dos.c", 1) in lines or line.strip() in lines
