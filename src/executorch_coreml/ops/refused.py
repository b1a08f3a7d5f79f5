"""Ops that no rule lowers, and why: what Core ML cannot express at all.

A row is a sentence for the user that ends with what to do instead, and the ops it holds for.
TABLE and REFUSED share no op, and together they have every op of PyTorch's Core ATen set;
tests/test_table.py proves both. Read-only, like TABLE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch

UNKNOWN = "no rule lowers this op"

_DATA_DEPENDENT = (
    "the shape of its result depends on values, and of such ops Core ML has non_zero only; "
    "use nonzero, an index by a mask or topk, or run it outside"
)
_BACKWARD = (
    "it belongs to training, which Core ML programs do not do; export the model in eval mode"
)
_SYMBOLIC = (
    "it computes or asserts a size, which costs no op inside a delegate and does not cross its "
    "border; keep what needs the size in the same delegate"
)
_COMPLEX = (
    "Core ML has no complex numbers; compute real and imaginary parts as two real tensors, a "
    "Fourier transform as a product with constant cosine and sine matrices"
)
_DECOMPOSITION = (
    "it needs an iteration whose course depends on values, which Core ML has no op for; compute it "
    "before export if its argument is constant, or run it outside"
)
_SPECIAL = (
    "Core ML has no op and no accurate short form for this special function; run it outside, or "
    "use an approximation for the range you need"
)
_IN_PLACE = (
    "it writes into an argument, and MIL values never change; torch.export makes it functional: "
    "call run_decompositions() on the exported program"
)

_ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        _DATA_DEPENDENT,
        (
            "_unique.default",
            "_unique2.default",
            "unique_consecutive.default",
            "unique_dim.default",
            "unique_dim_consecutive.default",
            "bincount.default",
            "repeat_interleave.Tensor",
        ),
    ),
    (
        "it takes a number out of a tensor, which leaves the delegate for Python; keep the value "
        "a tensor of rank 0 instead of calling item()",
        ("_local_scalar_dense.default", "item.default"),
    ),
    (
        _SYMBOLIC,
        (
            "sym_is_contiguous.default",
            "sym_numel.default",
            "sym_size.int",
            "sym_size.default",
            "sym_storage_offset.default",
            "sym_stride.int",
            "sym_stride.default",
            "sym_constrain_range.default",
            "sym_constrain_range_for_size.default",
            "_assert_scalar.default",
        ),
    ),
    (
        _BACKWARD,
        (
            "_adaptive_avg_pool2d_backward.default",
            "avg_pool2d_backward.default",
            "convolution_backward.default",
            "embedding_dense_backward.default",
            "max_pool2d_with_indices_backward.default",
            "native_group_norm_backward.default",
            "native_layer_norm_backward.default",
            "native_batch_norm_backward.default",
            "native_dropout_backward.default",
            "gelu_backward.default",
            "sigmoid_backward.default",
            "tanh_backward.default",
            "threshold_backward.default",
            "_softmax_backward_data.default",
            "_log_softmax_backward_data.default",
            "slice_backward.default",
            "select_backward.default",
        ),
    ),
    (
        _COMPLEX,
        (
            "_fft_c2c.default",
            "_fft_c2r.default",
            "_fft_r2c.default",
            "complex.default",
            "polar.default",
            "view_as_complex.default",
            "view_as_complex_copy.default",
            "view_as_real.default",
            "view_as_real_copy.default",
        ),
    ),
    (
        _DECOMPOSITION,
        (
            "_linalg_det.default",
            "_linalg_eigh.default",
            "_linalg_slogdet.default",
            "_linalg_solve_ex.default",
            "_linalg_svd.default",
            "cholesky.default",
            "cholesky_inverse.default",
            "cholesky_solve.default",
            "geqrf.default",
            "linalg_cholesky_ex.default",
            "linalg_eig.default",
            "linalg_eigvals.default",
            "linalg_householder_product.default",
            "linalg_inv_ex.default",
            "linalg_ldl_factor_ex.default",
            "linalg_lstsq.default",
            "linalg_lu.default",
            "linalg_lu_factor_ex.default",
            "linalg_lu_solve.default",
            "linalg_matrix_exp.default",
            "linalg_qr.default",
            "linalg_solve_triangular.default",
            "lu_unpack.default",
            "ormqr.default",
            "triangular_solve.default",
            "gcd.default",
            "lcm.default",
            "poisson.default",
            "binomial.default",
            "_standard_gamma.default",
            "_sample_dirichlet.default",
        ),
    ),
    (
        _SPECIAL,
        (
            "i0.default",
            "igamma.default",
            "igammac.default",
            "polygamma.default",
            "special_airy_ai.default",
            "special_bessel_j0.default",
            "special_bessel_j1.default",
            "special_bessel_y0.default",
            "special_bessel_y1.default",
            "special_chebyshev_polynomial_t.default",
            "special_hermite_polynomial_h.default",
            "special_i0.default",
            "special_i0e.default",
            "special_i1.default",
            "special_i1e.default",
            "special_legendre_polynomial_p.default",
            "special_modified_bessel_i0.default",
            "special_modified_bessel_i1.default",
            "special_modified_bessel_k0.default",
            "special_modified_bessel_k1.default",
            "special_scaled_modified_bessel_k0.default",
            "special_scaled_modified_bessel_k1.default",
            "special_spherical_bessel_j0.default",
            "special_zeta.default",
        ),
    ),
    (
        _IN_PLACE,
        (
            "_native_batch_norm_legit.default",
            "atan2.out",
        ),
    ),
    (
        "it reads or changes the bits of floats, which Core ML does not show; run it outside",
        ("nextafter.default", "view.dtype", "view_copy.dtype", "frexp.Tensor"),
    ),
    (
        "it gives a tensor another size in place, with contents that nothing defines; use view, "
        "a slice or pad",
        ("resize_.default", "resize.default"),
    ),
    (
        "the length of its loops depends on values; train outside Core ML and export the model "
        "without its loss",
        ("_ctc_loss.default", "_ctc_loss.Tensor"),
    ),
)


def _spelled() -> Iterator[tuple[Any, str]]:
    for reason, names in _ROWS:
        for name in names:
            packet, _, overload = name.partition(".")
            yield getattr(getattr(torch.ops.aten, packet), overload), reason


REFUSED: Mapping[Any, str] = MappingProxyType(dict(_spelled()))
"""aten overload -> the reason, in one sentence, that says what to do instead."""


def why_not(op: Any) -> str:
    """Why an op without a rule stays outside."""
    return REFUSED.get(op, UNKNOWN)
