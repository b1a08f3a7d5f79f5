"""The examples that claim an accuracy, in their quick forms, through the ExecuTorch runtime."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import llm
import pytest
import quantize
import report
import torch
from digits import train
from report import Report, write

from executorch_coreml.compiler import payload
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.pte import read_pte

STUDY = pytest.mark.xdist_group("study")  # one process trains, for all tests of what it made
DOCS = Path(__file__).parents[1] / "docs"

# The smallest of the widths and of the tables; test_quantization.py and test_quantization_grid.py
# have all of them, one layer at a time.
LINEARS = ("int4 group 32", "3-bit palettes")
PLAN = replace(
    llm.QUICK,
    variants={LINEARS[0]: (llm.EXACT, llm.VARIANTS[2]), LINEARS[1]: (llm.EXACT,)},
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many


@pytest.fixture(scope="module")
def results() -> list[llm.Result]:
    return llm.study(PLAN)


def lowered(results: list[llm.Result], linears: str, variant: llm.Variant) -> bytes:
    (pte,) = (r.pte for r in results if r.linears == linears and r.variant == variant)
    assert pte is not None
    return pte


@STUDY
def test_the_tokens_are_those_of_the_quantized_model_in_pytorch(results: list[llm.Result]) -> None:
    eager = {r.linears: r for r in results if r.variant is None}
    assert llm.differing(results) == []
    exact = [r for r in results if r.variant == llm.EXACT]
    assert [r.linears for r in exact] == list(LINEARS)
    for result in exact:
        assert [len(tokens) for tokens in result.made] == [PLAN.tokens] * llm.PROMPTS
        expected = eager[result.linears].perplexity
        assert result.perplexity == pytest.approx(expected, rel=1e-4)
        assert expected < 64, "it has learned nothing: a uniform guess has 256"


@STUDY
def test_fewer_bits_take_less_space(results: list[llm.Result]) -> None:
    sizes = [len(lowered(results, linears, llm.EXACT)) for linears in LINEARS]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@STUDY
def test_prefill_and_decode_share_their_weights(results: list[llm.Result]) -> None:
    for linears in LINEARS:
        pte = read_pte(memoryview(lowered(results, linears, llm.EXACT)))
        references = [payload.parse_reference(d.processed) for d in pte.delegates]
        assert [r.function_name for r in references] == ["forward", "prefill"]
        assert {r.key for r in references} == set(pte.named_data)
        assert len(pte.named_data) == 1


@STUDY
def test_the_caches_are_states(results: list[llm.Result]) -> None:
    ((linears, variant),) = (
        (r.linears, r.variant) for r in results if r.variant is not None and r.variant.states
    )
    bundle = read(lowered(results, linears, variant))
    assert len(bundle.descriptions[bundle.default_function].states) == 2 * PLAN.shape.layers


@pytest.fixture(scope="module")
def cnn() -> torch.nn.Module:
    make, epochs = quantize.MODELS["Digits CNN"]
    return train(make, epochs, iter)


@pytest.mark.xdist_group("digits")  # one process trains
@pytest.mark.parametrize(("name", "points"), [("int8 static", 0.5), ("int4 group 32", 1.0)])
def test_few_bits_keep_the_accuracy_of_the_digits_cnn(
    cnn: torch.nn.Module, name: str, points: float
) -> None:
    model = copy.deepcopy(cnn)
    (scheme,) = (scheme for scheme in quantize.SCHEMES if scheme.name == name)
    eager, result = quantize.accuracy(model), quantize.measure(model, scheme)
    assert eager > 0.97
    assert abs(result.accuracy - eager) <= points / 100
    assert result.same >= 0.99
    parameters = sum(weight.numel() for weight in model.parameters())
    assert result.weights < parameters * (1.05 if "int8" in name else 0.65)


def test_the_pages_have_a_row_for_all_that_the_examples_measure() -> None:
    text = (DOCS / "quantization.md").read_text()
    for title in quantize.MODELS:
        _, found, rest = text.partition(f"**{title}, ")
        assert found, title
        rows = [line.split("|")[1].strip() for line in rest.splitlines()[2:] if "|" in line]
        assert rows[2 : 3 + len(quantize.SCHEMES)] == [
            "eager PyTorch",
            *(scheme.name for scheme in quantize.SCHEMES),
        ]
    text = (DOCS / "llm.md").read_text()
    for linears, variants in llm.FULL.variants.items():
        for variant in variants:
            assert f"| {linears} | {variant} |" in text


def test_a_table_replaces_what_stood_between_its_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "DOCS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    table = Report("Title", ("name", "figure"), [("a", "1")])
    for _ in range(2):
        write("page.md", "x", [table])
        assert page.read_text() == (
            "before\n<!-- x -->\n\n**Title**\n\n| name | figure |\n|---|---:|\n| a | 1 |\n\n"
            "<!-- end of x -->\nafter\n"
        )
    with pytest.raises(ValueError, match="lacks <!-- y -->"):
        write("page.md", "y", [table])
