"""Measured records: what is legal is read, what is not is named."""

import numpy as np
import pytest

from sciml.sources import read_csv, sampling_time


@pytest.fixture
def write(tmp_path):
    def to_file(text: str | bytes):
        path = tmp_path / "record.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def test_the_form_of_the_benchmark_is_legal(write):
    path = write('"uEst","yEst","Ts",\n1,5.5,4,\n2,-6e-1,,\n 3 ,7,,\n\n,,,\n')
    record = read_csv(path, ("uEst", "yEst"), scalars=("Ts",), optional=("uVal",))
    assert set(record) == {"uEst", "yEst", "Ts"}
    np.testing.assert_array_equal(record["uEst"], [1, 2, 3])
    np.testing.assert_array_equal(record["yEst"], [5.5, -0.6, 7])
    assert record["Ts"].shape == () and sampling_time(record["Ts"]) == 4
    assert all(values.dtype == np.float64 for values in record.values())


def test_variants_that_spreadsheets_write_are_legal(write):
    path = write(
        '\ufeffa,note,b\r\n1,first,2\r\n3,"x, y",4\r\n'
    )  # byte-order mark, CRLF, a column of text not asked for
    record = read_csv(str(path), ["b"], optional=["a"])
    np.testing.assert_array_equal(record["b"], [2, 4])
    np.testing.assert_array_equal(record["a"], [1, 3])
    assert read_csv(write("a,Ts\n1,2\n2,2\n"), ["a"], scalars=["Ts"])["Ts"] == 2  # a scalar in every row


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"`path`: got .*record.csv, which is empty; expected a header and samples"),
        ("\n,,\n", r"record.csv, which is empty"),
        ("a,b,Ts\n", r"`path`: got 0 samples in record.csv; expected at least 2"),
        (
            "a,b,Ts\n1,2,3\n",
            r"`path`: got 1 samples in record.csv; expected at least 2. Likely fix: use a longer record",
        ),
        (
            "a,c\n1,2\n",
            r"got columns \['a', 'c'\] in record.csv, without \['b', 'Ts'\]; expected columns \['a', 'b', 'Ts'\]",
        ),
        ("a;b;Ts\n1;2;3\n", r"without \['a', 'b', 'Ts'\].*separate them by commas"),
        ("a,b,b,Ts\n1,2,3,4\n", r"got columns \['b'\] twice in record.csv; expected each name once"),
        ("a,b,Ts\n1,2,4\n3,x4,\n", r"got the text 'x4' in column 'b', line 3 of record.csv; expected a number"),
        ("a,b,Ts\n1,1_0,4\n3,4,\n", r"got the text '1_0' in column 'b', line 2"),
        ("a,b,Ts\n1,2,4\n3,NaN,\n5,6,\n", r"got NaN in column 'b', line 3 of record.csv; expected a finite number"),
        ("a,b,Ts\n1,2,4\n3,-inf,\n5,6,\n", r"got -inf in column 'b', line 3"),
        ("a,b,Ts\n1,2,4\n,4,\n5,6,\n", r"got an empty cell in column 'a', line 3 of record.csv; expected a number"),
        ("a,b,Ts\n1,2,4\n\n5,6,\n", r"got an empty cell in column 'a', line 3"),
        (
            "a,b,Ts\n1,2,4\n3\n5\n",
            r"got columns of unequal lengths {'a': 3, 'b': 1} in record.csv; expected one length",
        ),
        ("a,b,Ts\n1,2,4\n3,4,5\n", r"got values from 4.0 to 5.0 in column 'Ts' of record.csv; expected one value"),
        ("a,b,Ts\n1,2,\n3,4,\n", r"got no value in column 'Ts' of record.csv; expected one value"),
        ("a,b,Ts\n1,2,four\n3,4,\n", r"got the text 'four' in column 'Ts', line 2"),
        ("a,b,Ts\n1,2,4,9\n3,4,\n", r"got 4 cells in line 2 of record.csv; expected 3 as in the header"),
        (b"a,b,Ts\n\xff\xfe,1,2\n", r"record.csv: 'utf-8' codec .*; expected a text file in UTF-8"),
        (
            'a,b,Ts\n"' + "1" * 140_000 + '",1,2\n',
            r"record.csv: field larger than field limit .*; expected a text file",
        ),
    ],
)
def test_what_is_not_legal_is_named(write, text, match):
    with pytest.raises(ValueError, match=match):
        read_csv(write(text), ("a", "b"), scalars=("Ts",), min_length=2)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path`: got .*nowhere.csv, which is not a file; expected a CSV file"):
        read_csv(tmp_path / "nowhere.csv", ("a",))


def test_an_optional_column_is_checked_too(write):
    with pytest.raises(ValueError, match=r"got the text 'x' in column 'b', line 2"):
        read_csv(write("a,b\n1,x\n"), ("a",), optional=("b",))


def test_the_sampling_time_is_the_mean_step():
    assert sampling_time(0.5) == 0.5
    np.testing.assert_allclose(sampling_time(np.round(np.arange(50) / 3, 4)), 1 / 3, rtol=1e-4)  # four digits


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            [0.0, 1.0, 2.1, 3.0],
            r"`values`: got non-constant sampling: a step of 1.1 at sample 1, 1 on average; expected",
        ),
        ([0.0, 1.0, 1.0], r"`values`: got a step of 0.0 at sample 1; expected steps > 0"),
        ([0.0, np.nan, 2.0], r"`values`: got a step of nan at sample 0; expected steps > 0"),
        (-4.0, r"`values`: got a step of -4.0 at sample 0; expected steps > 0"),
        ([1.0], r"`values`: got an array of shape \(1,\); expected one number, or two times or more"),
        (np.ones((2, 2)), r"`values`: got an array of shape \(2, 2\)"),
    ],
)
def test_a_changing_sampling_time_is_named(values, match):
    with pytest.raises(ValueError, match=match):
        sampling_time(np.asarray(values))


def test_the_measured_tanks(data_dir):
    path = data_dir / "cascaded_tanks" / "dataBenchmark.csv"
    record = read_csv(path, ("uEst", "uVal", "yEst", "yVal"), scalars=("Ts",), min_length=1024)
    assert {name: values.shape for name, values in record.items() if name != "Ts"} == dict.fromkeys(
        ("uEst", "uVal", "yEst", "yVal"), (1024,)
    )
    assert sampling_time(record["Ts"]) == 4.0
    assert (record["uEst"][0], record["yVal"][0]) == (3.2567, 4.9728)
    with pytest.raises(ValueError, match=r"got columns of unequal lengths .*'Ts': 1.*declare columns .* as `scalars`"):
        read_csv(path, ("uEst", "Ts"))
