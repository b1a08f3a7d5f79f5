"""Pytest plugin: adds our flows to ExecuTorch's backend test suite and writes what came of it.

It is loaded before the suite's conftest, which takes ``all_flows`` and ``run_test`` from their
modules. Nothing of the installed package changes. Where the suite ends a test at its first case
that fails or is skipped, the other cases run too, and the test fails at its end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.backends.test.suite import flow as suite_flow
from executorch.backends.test.suite import runner as suite_runner
from executorch.backends.test.suite.reporting import TestCaseSummary, TestResult

from executorch_suite.flows import FAILURES, FLOWS, Outcome, judge
from executorch_suite.table import markdown, summary

_all_flows, _run_test = suite_flow.all_flows, suite_runner.run_test
_case_outcomes: list[Outcome] = []  # of the test that runs
_outcomes: dict[str, list[Outcome]] = {name: [] for name in FLOWS}  # of all tests, per flow


def _with_ours() -> dict[str, Any]:
    return {**_all_flows(), **FLOWS}


def _recording(model: Any, inputs: Any, flow: Any, *args: Any, **options: Any) -> TestCaseSummary:
    result = _run_test(model, inputs, flow, *args, **options)
    if flow.name not in FLOWS:
        return result
    _case_outcomes.append(judge(result, result.base_name.removeprefix("test_")))
    return replace(result, result=TestResult.SUCCESS)


suite_flow.all_flows = _with_ours
suite_runner.run_test = _recording


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite-json", type=Path, help="write every outcome to this file")
    parser.addoption("--suite-table", type=Path, help="write the table of outcomes to this file")
    parser.addoption("--suite-seed", type=int, default=0, help="of weights and inputs")


def pytest_configure(config: pytest.Config) -> None:
    """Without a choice of flows (``-m flow_xnnpack``), ours run."""
    if not config.option.markexpr:
        config.option.markexpr = " or ".join(f"flow_{name}" for name in FLOWS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    _case_outcomes.clear()
    seed = item.config.getoption("suite_seed")
    torch.manual_seed(seed)
    random.seed(seed)  # where the suite's runner takes a seed from
    yield
    runner = getattr(item, "funcargs", {}).get("test_runner")
    if runner is None or not _case_outcomes:
        return
    item.user_properties.append((runner._flow.name, [asdict(one) for one in _case_outcomes]))
    failed = [one for one in _case_outcomes if one.kind in FAILURES]
    if failed:
        pytest.fail("\n".join(f"case {o.case} {o.kind}: {o.reasons}" for o in failed), False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Runs where the table is written: with xdist, the reports come from other processes."""
    if report.when == "call":
        for flow, outcomes in report.user_properties:
            _outcomes[flow] += [Outcome(**outcome) for outcome in outcomes]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = {flow: outcomes for flow, outcomes in _outcomes.items() if outcomes}
    if target := config.getoption("suite_json"):
        data = {flow: [asdict(one) for one in outcomes] for flow, outcomes in found.items()}
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(data, indent=1) + "\n")
    if target := config.getoption("suite_table"):
        target.write_text(markdown(found))
    for flow, outcomes in found.items():
        terminalreporter.write_line(f"{flow}: {summary(outcomes)}")
