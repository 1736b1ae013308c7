"""The supervisor of several workers, without a database."""

import subprocess
import sys
from pathlib import Path

from tests.ports import free_port
from tests.waiting import HANG_SECONDS

# The first worker ends once it has started. The second one stops the supervisor.
_SUPERVISED = """
import os, signal, sys
from app import log
from app.server.banner import print_banner
from app.server.service_manager import ServiceManager
from app.server.supervisor import Supervisor
from app.server.workers import report_started
from app.settings import load

def run_worker(worker):
    os.write(1, b"started\\n")
    ended = worker.folder / "ended"
    if ended.exists():
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
    ended.touch()
    report_started(worker)
    sys.exit(3)

settings = load({"DATA_DIR": sys.argv[1], "PORT": sys.argv[2], "LOG_FORMAT": "console"})
log.configure(settings.log.level, settings.log.format)
sys.exit(Supervisor(settings, run_worker, ServiceManager(None)).run(lambda: print_banner(settings)))
"""


def test_worker_is_replaced_after_the_reader_of_logs_is_gone(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISED, str(tmp_path), str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    assert supervisor.stderr is not None
    supervisor.stderr.close()
    supervisor.stderr = None
    try:
        output, _ = supervisor.communicate(timeout=HANG_SECONDS)
    finally:
        supervisor.kill()

    assert (supervisor.returncode, output) == (0, "started\nstarted\n")
