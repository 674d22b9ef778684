"""`make diagnose`: the doctor against a simulated resource, with a fault of your choice planted in it.

    python -m local.diagnose --defect all-fails -- --repeat 3
    python -m local.diagnose --fault 401-permission-denied

What follows -- goes to `python -m diagnose`. For a resource of your own run that: `python -m diagnose --help`.
"""

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack

import requests

from local.__main__ import ROOT, settings_of, start
from local.client_secrets import DEFECTS
from local.faults import CATALOGUE


def main() -> int:
    """Start the simulated resource, plant the fault, run the doctor, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m local.diagnose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--defect", choices=DEFECTS, default="all-fails", help="what Azure does with the block")
    parser.add_argument("--fault", choices=sorted(CATALOGUE), help="what every mint gets")
    parser.add_argument("doctor", nargs="*", metavar="ARGUMENT", help="for python -m diagnose")
    arguments = parser.parse_args()
    with ExitStack() as processes:
        azure = start(processes, "local.azure", "--port", "0", "--defect", arguments.defect)
        requests.patch(f"{azure}/_simulator", json={"fault": arguments.fault}, timeout=10).raise_for_status()
        doctor = [sys.executable, "-m", "diagnose", *arguments.doctor]
        return subprocess.run(doctor, cwd=ROOT, env=os.environ | settings_of(azure), check=False).returncode  # noqa: S603 - our own module


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(2)
