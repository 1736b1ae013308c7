"""Run a pytest session: one temporary folder, a time limit per phase, failures named at once."""

import gc
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.coverage_data import remove_damaged
from tests.guardian import guarded_folder

# A guard against fixtures that hang. pytest-timeout guards the test functions (pyproject.toml).
# Its limit for fixtures could fire between two phases, and end the whole session.
FIXTURE_SECONDS = 900
_UNTIL_END = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Guard the temporary files of the session; workers share those of their controller."""
    stack = config.stash[_UNTIL_END] = ExitStack()
    if not hasattr(config, "workerinput"):
        stack.enter_context(guarded_folder())
        config.pluginmanager.register(FailureNames(config.pluginmanager))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile: of thousands of new tests, none is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_UNTIL_END].close()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Remove damaged coverage data before pytest-cov combines the files."""
    result = yield
    if session.config.pluginmanager.has_plugin("_cov") and not hasattr(
        session.config, "workerinput"
    ):
        remove_damaged(session.config.rootpath)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with _limited(f"the setup of {item.nodeid}"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with _limited(f"the teardown of {item.nodeid}"):
        return (yield)


@contextmanager
def _limited(phase: str) -> Iterator[None]:
    """Fail a phase that hangs. pytest reports the error of a phase and continues."""

    def fail(*_: object) -> None:
        pytest.fail(f"{phase} takes more than {FIXTURE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, FIXTURE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class FailureNames:
    """Print each failure's name when it happens: a session that is killed prints no summary."""

    def __init__(self, pluginmanager: pytest.PytestPluginManager) -> None:
        self._pluginmanager = pluginmanager

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"FAILED in {report.when}: {report.nodeid}")
