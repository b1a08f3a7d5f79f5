"""``etcoreml report``: the facts on the page, and the page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import package_files
import report_models
from console import call, printed
from executorch_coreml.report.units import ALL_RULES

MODELS = Path(report_models.__file__)
INT4 = json.dumps({"dtype": "int4", "granularity": "per_block", "block_size": 32})
UNITS = {"Neural Engine", "GPU", "CPU"}


def facts(*arguments: object) -> Any:
    return printed("report", *arguments)


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(MODELS.read_text().splitlines(), 1) if text in line)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``mixed.pte``, its report and the report of the ``.pte`` alone."""
    folder = tmp_path_factory.mktemp("report")
    program = folder / "mixed.pte"
    result = call(
        *("export", f"{MODELS}:mixed", "-o", program, "--report", folder / "mixed.html"),
        *("--compute-unit", "CPU_AND_NE"),
    )
    assert result.exit_code == 0, result.output
    assert call("report", program, "-o", folder / "alone.html").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def mixed() -> Any:
    """What is known of a model of which a part stays outside."""
    return facts(f"{MODELS}:mixed")


# -- facts ---------------------------------------------------------------------------------------


def test_each_op_of_a_source_has_its_line_type_and_place(mixed: Any) -> None:
    rows = {row["op"]: row for row in mixed["rows"]}
    cosh, fmod = rows["aten.cosh.default"], rows["aten.fmod.Scalar"]
    assert (cosh["file"], cosh["line"]) == (MODELS.name, line_of(".cosh()"))
    assert cosh["code"] == MODELS.read_text().splitlines()[cosh["line"] - 1].strip()
    assert (cosh["delegate"], cosh["units"], cosh["dtype"]) == (None, ["CPU"], "float64")
    assert "float64" in cosh["reason"]
    assert fmod["delegate"] == 1
    assert fmod["precision"] == ["a position, an angle or a fraction: kept in fp32"]
    assert fmod["units"] == ["GPU", "CPU"]
    assert "float32" in fmod["rules"]
    first = next(row for row in mixed["rows"] if row["module"] == "first")
    assert (first["mil"], first["bytes"], first["shape"]) == (["linear"], 16 * 32 * 2 + 64, "2x32")
    assert first["units"] == ["Neural Engine", "GPU", "CPU"]
    assert (rows["aten.relu.default"]["dtype"], rows["aten.relu.default"]["mil"]) == (
        "fp16",
        ["relu"],
    )
    assert mixed["unknown"] == []


def test_the_graph_goes_from_inputs_through_delegates_to_outputs(mixed: Any) -> None:
    (method,) = mixed["methods"]
    kinds = [block["kind"] for block in method["blocks"]]
    assert kinds == ["input", "delegate", "outside", "delegate", "output"]
    assert [list(block["reads"]) for block in method["blocks"]] == [[], ["0"], ["1"], ["2"], ["3"]]
    assert method["exact"]
    assert method["delegated"] < method["total"]


def test_int4_in_blocks_is_not_for_the_neural_engine() -> None:
    found = facts(f"{MODELS}:small", "--quantize", INT4, "--compute-unit", "CPU_AND_NE")
    (linear,) = (row for row in found["rows"] if row["op"] == "aten.linear.default")
    assert "int4 per block of 32" in linear["weights"]
    assert linear["units"] == ["CPU"]
    assert {"per_block", "compute_unit"} <= set(linear["rules"])
    assert (found["minimum_os"], linear["since"]) == ("iOS18", "iOS15")
    assert any("block" in reason for reason in found["reasons"])
    (weight,) = (each for each in found["models"][0]["weights"] if each["full"] == 64 * 64 * 2)
    assert weight["bytes"] == 64 * 64 // 2 + 64 * 2 * 2


def test_an_artefact_says_what_it_does_not_know(made: Path) -> None:
    found = facts(made / "mixed.pte")
    assert not found["source"]
    assert any("line" in text for text in found["unknown"])
    assert not any("why ops stayed outside" in text for text in found["unknown"])
    assert any("float64" in each["reason"] for each in found["outside"])
    (cosh,) = (row for row in found["rows"] if row["op"] == "aten.cosh.out")
    assert (cosh["delegate"], cosh["units"]) == (None, ["CPU"])
    assert "float64" in cosh["reason"]
    assert {row["op"] for row in found["rows"]} >= {"linear", "relu"}
    assert found["options"]["compute_units"] == "cpu_and_ne"
    assert all(row["units"][0] != "GPU" for row in found["rows"])


def test_a_package_with_states_control_flow_and_packed_weights(tmp_path: Path) -> None:
    path = package_files.write(package_files.files(), tmp_path / "constants.mlpackage")
    found = facts(path)
    (method,) = found["methods"]
    assert method["exact"]
    assert {"cond", "add", "read_state"} <= {row["op"] for row in found["rows"]}
    assert any("compute units" in text for text in found["unknown"])
    payload = tmp_path / "payload"
    payload.write_bytes(package_files.pack(package_files.files()))
    assert [row["op"] for row in facts(payload)["rows"]] == [row["op"] for row in found["rows"]]
    assert call("report", path, "-o", tmp_path / "report.html").exit_code == 0


def test_methods_each_have_a_graph(tmp_path: Path) -> None:
    found = facts(f"one={MODELS}:small", f"four={MODELS}:longer", "--target", "iOS18")
    assert [method["name"] for method in found["methods"]] == ["one", "four"]
    assert {row["method"] for row in found["rows"]} == {"one", "four"}
    assert len(found["models"]) == 1


def test_states_and_sizes_known_at_run_time() -> None:
    found = facts(f"{MODELS}:total")
    (method,) = found["methods"]
    assert ["buffer total: a state" in text for text in method["buffers"]] == [True]
    (model,) = found["models"]
    ((_, border),) = model["functions"].values()
    assert {"kind": "state", "name": "b_total", "dtype": "fp16", "shape": "[24]"} in border
    (relu,) = (row for row in found["rows"] if row["op"] == "aten.relu.default")
    assert (relu["shape"], relu["units"]) == ("?x24", ["GPU", "CPU"])
    assert "dynamic" in relu["rules"]
    assert found["minimum_os"] == "iOS18"
    assert any("state" in reason for reason in found["reasons"])


def test_every_rule_has_a_public_source() -> None:
    for rule in ALL_RULES.values():
        assert rule.says.endswith(".")
        assert set(rule.excludes) < UNITS
        assert rule.sources
        for source in rule.sources:
            assert source.who
            assert re.match(r"https://[\w.]+/\S+$", source.url)


def test_equal_models_make_equal_pages(made: Path, tmp_path: Path) -> None:
    assert call("report", made / "mixed.pte", "-o", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_text() == (made / "alone.html").read_text()


def test_names_cannot_break_the_page(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "<script>alert(1)<" / "a&b.pte"
    path.parent.mkdir()
    path.write_bytes((made / "mixed.pte").read_bytes())
    assert call("report", path, "-o", tmp_path / "x.html").exit_code == 0
    text = (tmp_path / "x.html").read_text()
    assert text.count("<script") == 2
    assert "a&amp;b.pte" in text


# -- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Page]:
    path = browser.found()
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with browser.page(path) as opened:
        yield opened


def _ops(page: browser.Page) -> list[str]:
    """The ops that the list shows."""
    found: list[str] = page.value(
        "[...document.querySelectorAll('#rows code')].map(c => c.innerText)"
    )
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_renders_without_network_or_errors(
    page: browser.Page, made: Path, dark: bool
) -> None:
    page.requests.clear()
    page.open(made / "mixed.html", dark=dark)
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.value("document.querySelectorAll('.graph .box').length") == 5
    assert "aten.cosh.default" in _ops(page)
    background = page.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(16, 20, 26)" if dark else "rgb(246, 247, 249)")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    assert page.screenshot().startswith(b"\x89PNG")


def test_search_and_filters_narrow_the_list(page: browser.Page, made: Path) -> None:
    page.open(made / "mixed.html")
    everything = _ops(page)
    page.press("/")
    page.type("FLOAT64 aten.cosh")
    assert _ops(page) == ["aten.cosh.default"]
    assert page.value("document.getElementById('count').value").startswith("1 of ")
    page.value("document.getElementById('search').select()")
    page.type("no such words")
    assert _ops(page) == []
    page.value("document.getElementById('search').select()")
    page.type(" ")
    assert _ops(page) == everything
    page.value(
        "{const f = document.getElementById('filter'); f.value = 'precision';"
        "f.dispatchEvent(new Event('change'))}"
    )
    assert "aten.fmod.Scalar" in _ops(page)
    assert len(_ops(page)) < len(everything)
    assert page.problems == []


def test_the_page_works_by_keyboard(page: browser.Page, made: Path) -> None:
    page.open(made / "mixed.html")
    page.value("document.querySelector('.graph .outside').focus()")
    page.press("Enter")  # the block's ops, the first one focused
    assert "aten.cosh.default" in _ops(page)
    assert not any("linear" in op for op in _ops(page))
    place = _ops(page).index("aten.cosh.default")
    for _ in range(place):
        page.press("ArrowDown")
    page.press("Enter")
    shown = page.value("document.getElementById('detail').innerText")
    assert all(word in shown for word in ("aten.cosh.default", "float64", ".cosh()", "Outside:"))
    assert page.value("document.querySelectorAll('#detail .near button').length") >= 2
    page.press("Escape")
    assert page.value("document.getElementById('detail').hidden")
    assert page.value("document.activeElement.tagName") == "TR"
    page.press("t")
    assert page.value("document.documentElement.dataset.theme") == "dark"
    assert page.problems == []


def test_an_artefact_alone_and_a_narrow_screen(page: browser.Page, made: Path) -> None:
    page.open(made / "alone.html", width=420)
    assert page.problems == []
    assert "Not known from this file alone" in page.value("document.body.innerText")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.press("/")
    page.type("linear")
    assert set(_ops(page)) == {"linear"}
