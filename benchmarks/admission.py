"""What it costs to let a caller in: authentication and quota, timed inside one process.

The issuer is local/issuer.py and its key is cached, as it is for all but the first caller of an hour.
"""

import sys
import time
from collections.abc import Callable, Iterator

import requests

from benchmarks.figures import Figure, Goal, percentile
from benchmarks.processes import Process
from mint.callers import Callers
from mint.quota import Quota
from mint.settings import Settings

GOAL_MS = 0.15
AUDIENCE = "api://realtime-token-endpoint"


def measure(effort: float) -> Iterator[Figure]:
    """Measure each mode that checks something here, with a quota in memory that is never used up."""
    with Process(
        "issuer", [sys.executable, "-m", "local.issuer", "--port", "0"], {}, ready="OIDC issuer listening on "
    ) as issuer:
        asked = {"sub": "a-caller", "aud": AUDIENCE}
        token = requests.post(f"{issuer.url}/token", data=asked, timeout=10).json()["access_token"]
        modes = {
            "function_key": {},
            f"jwt, a token of {len(token)} characters": {
                "CALLER_AUTH": "jwt",
                "JWT_ISSUER": issuer.url,
                "JWT_AUDIENCE": AUDIENCE,
            },
        }
        for name, settings in modes.items():
            admit = _admission(settings, {"authorization": f"Bearer {token}"})
            yield Figure(
                "Authentication and quota", name, _p50_ms(admit, round(4000 * effort)), "ms", goal=Goal(GOAL_MS)
            )


def _admission(chosen: dict[str, str], headers: dict[str, str]) -> Callable[[], None]:
    settings = Settings.read(
        {
            "AZURE_OPENAI_ENDPOINT": "https://RESOURCE.openai.azure.com",
            "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
            "MINT_QUOTA": "100000/minute;100000/day",
            **chosen,
        }
    )
    callers, quota = Callers(settings), Quota(settings)

    def admit() -> None:
        quota.spend(callers.authenticate(headers, 5).key)

    return admit


def _p50_ms(work: Callable[[], None], times: int) -> float:
    work()  # fetches the key
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return percentile(took, 50) * 1000
