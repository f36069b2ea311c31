"""What the command refuses, before anything long starts."""

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.__main__ import main
from sciml.studies._tanks_model import plant, RANGES, read_record, simulated_record


def write(path, columns, ts="4"):
    header = ",".join(f'"{name}"' for name in (*columns, "Ts")) + ","
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(map(str, row)) + f",{ts if k == 0 else ''}," for k, row in enumerate(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


@pytest.fixture
def columns():
    n = np.arange(320)
    return {name: 3.0 + np.sin(0.01 * k * n) for k, name in enumerate(("uEst", "uVal", "yEst", "yVal"), 1)}


def test_the_official_form_is_read(tmp_path, columns):
    record = read_record(write(tmp_path / "record.csv", columns))
    assert record.dt == 4.0
    assert record.u.shape == (320,)
    np.testing.assert_array_equal(record.y_test, columns["yVal"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("yVal"), "yVal"),
        (lambda c: c.update(uEst=["three", *c["uEst"][1:]]), "three"),
        (lambda c: c.update(yEst=[*c["yEst"][:7], np.nan, *c["yEst"][8:]]), "nan"),
        (lambda c: c.update({k: v[:40] for k, v in c.items()}), "40"),
    ],
)
def test_bad_records_end_with_a_message_and_leave_results_alone(tmp_path, columns, capsys, spoil, message):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    spoil(columns)
    assert main(["tanks", "--data", write(tmp_path / "record.csv", columns), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Likely fix" in error
    assert (out / "report.json").read_text() == "old"


def test_unequal_lengths_are_named(tmp_path, columns, capsys):
    path = tmp_path / "record.csv"
    write(path, columns)
    lines = path.read_text().splitlines()
    lines[-1] = ",".join(["", *lines[-1].split(",")[1:]])
    path.write_text("\n".join(lines) + "\n")
    assert main(["tanks", "--data", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "uEst" in capsys.readouterr().err


def test_sampling_that_is_not_constant_is_refused(tmp_path, columns, capsys):
    path = tmp_path / "record.csv"
    write(path, columns)
    lines = path.read_text().splitlines()
    lines[5] = lines[5][:-2] + ",5,"
    path.write_text("\n".join(lines) + "\n")
    assert main(["tanks", "--data", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "Ts" in capsys.readouterr().err


def test_an_unwritable_folder_is_refused(tmp_path, columns, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    path = write(tmp_path / "record.csv", columns)
    assert main(["tanks", "--data", path, "--out", str(blocked)]) == 2
    assert "Likely fix" in capsys.readouterr().err
    assert blocked.read_text() == "not a folder"


def test_a_simulated_record_overflows_and_saturates_like_the_measured_one(key):
    record = simulated_record(key)
    assert record.y.shape == record.y_test.shape == (1024,)
    assert float(record.y.max()) == 10.0
    assert float(record.y.min()) > -0.2  # an empty tank, and noise


def test_coordinates_are_the_ranges():
    low, high = plant(-jnp.ones(len(RANGES))), plant(jnp.ones(len(RANGES)))
    for name, (a, b, _) in RANGES.items():
        np.testing.assert_allclose([getattr(low, name), getattr(high, name)], [a, b], rtol=1e-12)
