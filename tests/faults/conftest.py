"""The tally of all injected faults: what was tried, what survived, what was lost, by kind."""

from collections import Counter

import pytest


@pytest.fixture
def tally(record_property):
    """``tally(kind, tried, lost)``: kept with the test's report, which travels between processes.

    ``lost`` are the cases among ``tried`` that did not end as they should.
    """

    def note(kind, tried=1, lost=0):
        record_property("fault", (kind, tried, lost))

    return note


def pytest_terminal_summary(terminalreporter):
    rows = tallied(terminalreporter)
    if not rows:
        return
    terminalreporter.section("faults")
    width = max(map(len, (*rows, "kind")))
    terminalreporter.write_line(f"{'kind':{width}}  tried  survived  lost")
    for kind, (tried, lost) in [*sorted(rows.items()), ("all", total(rows))]:
        terminalreporter.write_line(f"{kind:{width}}  {tried:5}  {tried - lost:8}  {lost:4}")


def tallied(terminalreporter):
    """kind -> (tried, lost); a test that failed lost one case at least."""
    tried, lost = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == "fault":
                    kind, cases, without = value
                    tried[kind] += cases
                    lost[kind] += max(without, int(outcome == "failed"))
    return {kind: (tried[kind], lost[kind]) for kind in tried}


def total(rows):
    return tuple(map(sum, zip(*rows.values(), strict=True)))
