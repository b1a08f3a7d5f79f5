"""``lstm``, ``gru`` and ``rnn``, against PyTorch's layers and, where it has none, the recurrences
that coremltools' tests of these ops hold Core ML to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kernel_case import KernelCase, randn

S, B, WIDTH, H = 4, 2, 3, 5
NEW = "fp16 is from iOS17 on"


def _halves(*shape: int, scale: float = 0.6) -> np.ndarray:
    """Weights that fp16 holds."""
    return randn(*shape, scale=scale).astype(np.float16).astype(np.float32)


X, STATE, CELL = randn(S, B, WIDTH), randn(B, H), randn(B, H, scale=0.5)
TWO, TWO_CELLS = randn(B, 2 * H), randn(B, 2 * H, scale=0.5)


def _weights(gates: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """weight_ih, weight_hh, bias; ``seed`` makes others."""
    return tuple(
        np.roll(_halves(*shape), seed, 0)
        for shape in ((gates * H, WIDTH), (gates * H, H), (gates * H,))
    )


def _reordered(x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Blocks of H rows in another order."""
    parts = np.split(x, len(order))
    return np.concatenate([parts[i] for i in order])


# PyTorch orders the gates i f z o and r z o, MIL i f o z and r o z.
_LSTM_ORDER, _GRU_ORDER = (0, 1, 3, 2), (0, 2, 1)
W4, W4_BACK, W3, W1 = _weights(4), _weights(4, 3), _weights(3), _weights(1)
INPUT_BIAS = np.roll(W3[2], 1)
PEEPHOLE, PEEPHOLE_BACK = _halves(3 * H), np.roll(_halves(3 * H), 2)


def _layer(layer: Any, weights: dict[str, np.ndarray]) -> Any:
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return layer.requires_grad_(False)


def _torch_weights(w: tuple[np.ndarray, ...], order: tuple[int, ...], tail: str = "") -> Any:
    ih, hh, bias = (_reordered(x, order) for x in w)
    return {
        f"weight_ih_l0{tail}": ih,
        f"weight_hh_l0{tail}": hh,
        f"bias_ih_l0{tail}": bias,
        f"bias_hh_l0{tail}": np.zeros_like(bias),
    }


def _steps(x: np.ndarray, reverse: bool) -> torch.Tensor:
    return torch.from_numpy(x[::-1].copy() if reverse else x)


def _torch_lstm(every: bool, reverse: bool = False) -> Callable[..., Any]:
    layer = _layer(torch.nn.LSTM(WIDTH, H), _torch_weights(W4, _LSTM_ORDER))

    def expect(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
        states = torch.from_numpy(h)[None], torch.from_numpy(c)[None]
        y, (h_n, c_n) = layer(_steps(x, reverse), states)
        return (y if every else y[-1:]).numpy(), h_n[0].numpy(), c_n[0].numpy()

    return expect


def _torch_bidirectional(every: bool) -> Callable[..., Any]:
    weights = _torch_weights(W4, _LSTM_ORDER) | _torch_weights(W4_BACK, _LSTM_ORDER, "_reverse")
    layer = _layer(torch.nn.LSTM(WIDTH, H, bidirectional=True), weights)

    def expect(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
        states = [torch.stack(torch.from_numpy(s).split(H, 1)) for s in (h, c)]
        y, (h_n, c_n) = layer(torch.from_numpy(x), tuple(states))
        if not every:
            y = torch.cat([y[-1:, :, :H], y[:1, :, H:]], 2)
        return y.numpy(), torch.cat(list(h_n), 1).numpy(), torch.cat(list(c_n), 1).numpy()

    return expect


def _torch_gru(x: np.ndarray, h: np.ndarray) -> Any:
    weights = _torch_weights(W3, _GRU_ORDER)
    weights["bias_hh_l0"] = weights["bias_ih_l0"]
    weights["bias_ih_l0"] = _reordered(INPUT_BIAS, _GRU_ORDER)
    layer = _layer(torch.nn.GRU(WIDTH, H), weights)
    y, h_n = layer(torch.from_numpy(x), torch.from_numpy(h)[None])
    return y.numpy(), h_n[0].numpy()


def _torch_rnn(activation: str, every: bool, reverse: bool) -> Callable[..., Any]:
    layer = _layer(torch.nn.RNN(WIDTH, H, nonlinearity=activation), _torch_weights(W1, (0,)))

    def expect(x: np.ndarray, h: np.ndarray) -> Any:
        y, h_n = layer(_steps(x, reverse), torch.from_numpy(h)[None])
        return (y if every else y[-1:]).numpy(), h_n[0].numpy()

    return expect


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def _peephole_lstm(clip: float, gate: str, cell: str, out: str) -> Callable[..., Any]:
    """As ``_get_numpy_prediction_lstm_single_batch`` of coremltools' tests."""
    f1, f2, f3 = _ACTIVATIONS[gate], _ACTIVATIONS[cell], _ACTIVATIONS[out]

    def expect(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
        p_i, p_f, p_o = np.split(PEEPHOLE, 3)
        ys = []
        for now in x.astype(np.float64):
            i, f, o, z = np.split(now @ W4[0].T + h @ W4[1].T + W4[2], 4, axis=1)
            i, f, z = f1(i + c * p_i), f1(f + c * p_f), f2(z)
            c = np.clip(c * f + i * z, -clip, clip)
            h = f1(o + c * p_o) * f3(c)
            ys.append(h)
        return np.stack(ys), h, c

    return expect


def _reset_first(gate: str, out: str, every: bool, reverse: bool) -> Callable[..., Any]:
    """As ``get_numpy_prediction_gru_single_batch`` of coremltools' tests."""
    f1, f2 = _ACTIVATIONS[gate], _ACTIVATIONS[out]

    def expect(x: np.ndarray, h: np.ndarray) -> Any:
        r_r, r_o, r_z = np.split(W3[1], 3)
        ys = []
        for now in (x[::-1] if reverse else x).astype(np.float64):
            r, o, z = np.split(now @ W3[0].T + W3[2], 3, axis=1)
            r, z = f1(r + h @ r_r.T), f1(z + h @ r_z.T)
            o = f2(o + (h * r) @ r_o.T)
            h = (1 - z) * o + z * h
            ys.append(h)
        return np.stack(ys if every else ys[-1:]), h

    return expect


def _lstm(**options: Any) -> Callable[..., Any]:
    def build(mb: Any, t: Any, x: Any, h: Any, c: Any) -> Any:
        names = ("weight_ih", "weight_hh", "bias")
        given = {n: t(w) for n, w in zip(names, W4, strict=True)}
        if options.get("direction") == "bidirectional":
            given |= {f"{n}_back": t(w) for n, w in zip(names, W4_BACK, strict=True)}
        made = {n: t(v) if n in ("clip", "peephole") else v for n, v in options.items()}
        return mb.lstm(x=x, initial_h=h, initial_c=c, **given, **made)

    return build


def _gru(**options: Any) -> Callable[..., Any]:
    def build(mb: Any, t: Any, x: Any, h: Any) -> Any:
        given = {"weight_ih": t(W3[0]), "weight_hh": t(W3[1]), "bias": t(W3[2])}
        made = {n: t(v) if n == "input_bias" else v for n, v in options.items()}
        return mb.gru(x=x, initial_h=h, **given, **made)

    return build


def _rnn(**options: Any) -> Callable[..., Any]:
    def build(mb: Any, t: Any, x: Any, h: Any) -> Any:
        given = {"weight_ih": t(W1[0]), "weight_hh": t(W1[1]), "bias": t(W1[2])}
        return mb.rnn(x=x, initial_h=h, **given, **options)

    return build


def _row(id: str, build: Any, expect: Any, *states: np.ndarray, **more: Any) -> KernelCase:
    op = id.split("_")[0]
    more.setdefault("rtol", 2e-5)
    return KernelCase(id, op, build, (X, *states), expect=expect, atol=2e-6, **more)


ROWS = [
    _row("lstm_last", _lstm(), _torch_lstm(False), STATE, CELL),
    _row(
        "lstm_ios15",
        _lstm(output_sequence=True),
        _torch_lstm(True),
        STATE,
        CELL,
        target="iOS15",
        half=False,
        why=NEW,
    ),
    _row(
        "lstm_reverse_ios17",
        _lstm(direction="reverse", output_sequence=True),
        _torch_lstm(True, reverse=True),
        STATE,
        CELL,
        target="iOS17",
    ),
    *[
        _row(
            f"lstm_bidirectional_{every}",
            _lstm(direction="bidirectional", output_sequence=every),
            _torch_bidirectional(every),
            TWO,
            TWO_CELLS,
        )
        for every in (True, False)
    ],
    *[
        _row(
            f"lstm_{gate}_{cell}_{out}",
            _lstm(
                peephole=PEEPHOLE,
                clip=np.float32(clip),
                output_sequence=True,
                recurrent_activation=gate,
                cell_activation=cell,
                activation=out,
            ),
            _peephole_lstm(clip, gate, cell, out),
            STATE,
            CELL,
        )
        for clip, gate, cell, out in (
            (0.25, "sigmoid", "tanh", "linear"),
            (50.0, "hard_sigmoid", "scaled_tanh", "relu"),
            (0.5, "tanh", "linear", "sigmoid"),
        )
    ],
    _row(
        "gru_reset_after",
        _gru(reset_after=True, input_bias=INPUT_BIAS, output_sequence=True),
        _torch_gru,
        STATE,
    ),
    _row("gru_last", _gru(), _reset_first("sigmoid", "tanh", False, False), STATE),
    _row(
        "gru_reverse_ios17",
        _gru(direction="reverse", output_sequence=True, activation="relu"),
        _reset_first("sigmoid", "relu", True, True),
        STATE,
        target="iOS17",
    ),
    _row(
        "gru_ios15",
        _gru(recurrent_activation="tanh", activation="sigmoid", output_sequence=True),
        _reset_first("tanh", "sigmoid", True, False),
        STATE,
        target="iOS15",
        half=False,
        why=NEW,
    ),
    _row(
        "rnn_relu_ios17",
        _rnn(activation="relu"),
        _torch_rnn("relu", False, False),
        STATE,
        target="iOS17",
    ),
    _row(
        "rnn_ios15",
        _rnn(output_sequence=True, direction="reverse"),
        _torch_rnn("tanh", True, True),
        STATE,
        target="iOS15",
        half=False,
        why=NEW,
    ),
]
