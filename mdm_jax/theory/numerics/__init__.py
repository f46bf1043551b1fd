"""Numbers under the mathematics: the incomplete beta function and its derivatives, special functions, quadrature."""

from mdm_jax.theory.numerics.beta_function import incomplete_beta, incomplete_beta_inverse

__all__ = ["incomplete_beta", "incomplete_beta_inverse"]
