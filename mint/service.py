"""What one process keeps from its first request on. Imported only then: half of a cold start is such imports."""

from concurrent.futures import ThreadPoolExecutor

from mint.callers import Callers
from mint.identity import Identity, platform_credential
from mint.profiles import Profiles
from mint.quota import Quota
from mint.resources import Mints, Resources
from mint.settings import Settings
from mint.transcription import Transcription
from mint.upstream import Upstream


class Service:
    """What one process keeps: settings, profiles, the token, warm connections, and the threads that mint."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.callers = Callers(settings)
        self.quota = Quota(settings)
        self.profiles = Profiles(settings)
        self._identity = Identity(settings.scope, lambda: platform_credential(settings))
        self._wires: list[Upstream] = []

        def at(endpoint: str) -> Mints:
            upstream = Upstream(settings, self._identity, endpoint)
            self._wires.append(upstream)
            return Transcription(settings, upstream)  # the workaround; without it: return upstream

        self.upstream = Resources([(endpoint, at(endpoint)) for endpoint in settings.endpoints])
        self.threads = ThreadPoolExecutor(settings.max_concurrent_mints, thread_name_prefix="mint")
        self.in_flight = 0

    def warm(self) -> None:
        """Fetch what the first mint would wait for: the token, and a connection to the preferred resource.

        Raises what they raise: whoever asked for it early does without.
        """
        self._identity.token(self.settings.deadline_seconds)
        self._wires[0].warm()
