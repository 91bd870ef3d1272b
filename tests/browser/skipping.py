"""Says loudly, at the end of a run, that there was no browser to test with."""

import pytest

NO_BROWSER = "there is no Chromium here"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In the summary, because output of fixtures is captured, and workers have no terminal."""
    left_out = [report for report in terminalreporter.getreports("skipped") if NO_BROWSER in str(report.longrepr)]
    if left_out:
        line = f"NO BROWSER TESTS: {len(left_out)} left out, for {NO_BROWSER} (apt-get install chromium)"
        terminalreporter.write_line(line, red=True, bold=True)
