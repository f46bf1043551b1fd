"""Fixtures that the whole suite shares: tiny models and data, compiled once."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_ranks():
    """Broadcasting between different ranks must be written out; it hides shape errors."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def strict_types():
    """For tests of the mathematics: no silent promotion between types."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def double():
    """float64 for the duration of a test."""
    with jax.enable_x64(True):
        yield
