"""Clopper-Pearson against SciPy's beta quantile and a closed form."""

import pytest
import scipy.stats

from sciml.metrics import clopper_pearson


@pytest.mark.parametrize(
    "k, n", [(0, 1), (1, 2), (3, 10), (9, 10), (0, 200), (7, 10_000), (5_000, 10_000), (9_999, 10_000)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_is_the_beta_quantile(k, n, confidence):
    # the sum of logarithms over up to 10,000 terms loses about four of sixteen digits
    expected = scipy.stats.beta.ppf(confidence, k + 1, n - k)
    assert clopper_pearson(k, n, confidence=confidence) == pytest.approx(expected, rel=1e-10)


def test_covers_exactly_at_the_bound():
    bound = clopper_pearson(4, 50, confidence=0.9)
    assert scipy.stats.binom.cdf(4, 50, bound) == pytest.approx(0.1, rel=1e-10)


def test_none_of_n_is_the_rule_of_three():
    assert clopper_pearson(0, 10_000) == pytest.approx(1 - 0.05 ** (1 / 10_000), rel=1e-12)


def test_all_of_n_bounds_nothing():
    assert clopper_pearson(7, 7) == 1.0


@pytest.mark.parametrize(
    "k, n, confidence, match",
    [
        (0, 0, 0.95, "`n`: got 0; expected at least one trial"),
        (3, 2, 0.95, "`k`: got 3; expected a count between 0 and n = 2"),
        (-1, 2, 0.95, "`k`: got -1"),
        (0, 2, 95.0, r"`confidence`: got 95.0; expected a number in \(0, 1\)"),
    ],
)
def test_bad_counts_are_named(k, n, confidence, match):
    with pytest.raises(ValueError, match=match):
        clopper_pearson(k, n, confidence=confidence)
