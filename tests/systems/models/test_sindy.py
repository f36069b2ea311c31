"""Libraries of terms, and the model that combines them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.systems import discretise, RK4
from sciml.systems.models import Fourier, Functions, Polynomial, SINDy

X, U = jnp.array([0.5, -2.0]), jnp.array([3.0])


def test_polynomials_by_degree():
    library = Polynomial(3)
    names = library.names(["a", "b"], [])
    assert names == ("1", "a", "b", "a²", "a b", "b²", "a³", "a² b", "a b²", "b³")
    a, b = 0.5, -2.0
    expected = [1, a, b, a * a, a * b, b * b, a**3, a * a * b, a * b * b, b**3]
    np.testing.assert_allclose(library(X, None), expected, rtol=1e-15)


def test_inputs_take_part_where_wanted():
    assert Polynomial(1).names(["x"], ["u"]) == ("1", "x", "u")
    assert Polynomial(1)(X, U).tolist() == [1.0, 0.5, -2.0, 3.0]
    assert Polynomial(2, lowest=2, with_inputs=False)(X, U).tolist() == [0.25, -1.0, 4.0]
    assert Fourier([1.0], with_inputs=False)(X, U).shape == (4,)


def test_a_polynomial_is_few_operations_whatever_its_size():
    count = lambda n: len(jax.make_jaxpr(lambda x: Polynomial(2)(x, None))(jnp.ones(n)).eqns)
    assert count(2) == count(12) < 30


def test_sums_products_and_own_terms():
    own = Functions(lambda x, u: jnp.abs(x[:1]) * x[:1], ["|v| v"])
    library = Fourier([1.0, 2.0]) + own * Polynomial(1)
    names = library.names(["v", "w"], [])
    assert names[:4] == ("sin(v)", "sin(w)", "sin(2 v)", "sin(2 w)")
    assert names[8:] == ("|v| v", "|v| v v", "|v| v w")
    values = library(X, None)
    np.testing.assert_allclose(values[:2], np.sin([0.5, -2.0]), rtol=1e-15)
    np.testing.assert_allclose(values[6:], [np.cos(1.0), np.cos(-4.0), 0.25, 0.125, -0.5], rtol=1e-15)


def test_the_model_is_a_system_that_prints_its_equations():
    coefficients = np.zeros((6, 2))
    coefficients[2, 0], coefficients[[1, 2, 3], 1], coefficients[0, 1] = 1.0, [-4.0, -0.1, 0.25], -1.0
    library = Polynomial(1, with_inputs=True) + Functions(lambda x, u: x**3, ["q³", "v³"])
    model = SINDy(library, coefficients, inputs=1, names=["q", "v", "force"])
    assert str(model) == "d q/dt = 1 v\nd v/dt = -1 - 4 q - 0.1 v + 0.25 force"
    assert model.input_shape() == (1,)
    rate = model.vector_field(0.0, X, U)
    np.testing.assert_allclose(rate, [-2.0, -1 - 2.0 + 0.2 + 0.75], rtol=1e-15)
    run = sciml.rollout(discretise(model, RK4(), dt=0.1), lambda x, w: U, X, None, steps=3)
    assert run.x.shape == (4, 2)
    assert str(SINDy(Polynomial(1), jnp.zeros((2, 1)))) == "d x0/dt = 0"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Polynomial(0), "`degree, lowest`: got degree = 0"),
        (lambda: Polynomial(2, lowest=3), "lowest = 3"),
        (lambda: Fourier([]), "`frequencies`: got shape"),
        (lambda: Functions(lambda x, u: x, ["a"])(X, None), "one term for each label"),
        (lambda: SINDy(Polynomial(1), jnp.zeros(3)), r"expected \(term, state\)"),
        (lambda: SINDy(Polynomial(1), jnp.zeros((4, 2))), "the library has 3 terms"),
        (lambda: SINDy(Polynomial(1), jnp.zeros((3, 2)), names=["a"]), "name every state and input"),
    ],
)
def test_errors(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
