"""What one process keeps from its first request on. Imported only then: half of a cold start is such imports."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from mint.body import Json
from mint.callers import Callers
from mint.identity import PATIENCE, Identity, platform_credential
from mint.profiles import Profiles
from mint.quota import Quota
from mint.resources import Mints, Resources
from mint.settings import MisconfiguredError, Settings
from mint.transcription import Transcription
from mint.upstream import Upstream


class Service:
    """What one process keeps: settings, profiles, the token, warm connections, and the threads that mint."""

    @classmethod
    def start(cls) -> Self:
        """Return the service that the environment describes.

        Raises `MisconfiguredError` that tells all mistakes at once, those of settings and those of profiles.
        """
        try:
            settings = Settings.read()
        except MisconfiguredError as error:
            problems = list(error.problems)
            try:
                Profiles(None)
            except MisconfiguredError as more:
                problems += more.problems
            raise MisconfiguredError(problems) from error
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.callers = Callers(settings)
        self.quota = Quota(settings)
        self.profiles = Profiles(settings.ttl_seconds)
        patience = PATIENCE if settings.has_identity_endpoint else math.inf
        self._identity = Identity(settings.scope, lambda: platform_credential(settings), patience=patience)
        self._wires: list[Upstream] = []

        def at(endpoint: str) -> Mints:
            upstream = Upstream(settings, self._identity, endpoint)
            self._wires.append(upstream)
            return Transcription(settings, upstream)  # the workaround; without it: return upstream

        self.upstream = Resources([(endpoint, at(endpoint)) for endpoint in settings.endpoints])
        self.threads = ThreadPoolExecutor(settings.max_concurrent_mints, thread_name_prefix="mint")
        self.in_flight = 0

    def take_notices(self) -> list[Json]:
        """Return the log events that stand for no request of their own, each once."""
        return [notice for keeper in (self.callers, self.quota, self.upstream) for notice in keeper.take_notices()]

    def warm(self) -> None:
        """Fetch what the first mint would wait for: the token, and a connection to the preferred resource.

        Raises what they raise: whoever asked for it early does without.
        """
        self._identity.token(self.settings.deadline_seconds)
        self._wires[0].warm()
