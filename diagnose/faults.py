"""From one mint without transcription to the fault that stands in the way of every mint. Pure.

Throttling and silence count, because there is nothing to compare then; a 5xx does not, because it may pass.
"""

from diagnose.records import Call, Fault, Outcome


def fault_of(call: Call) -> Fault | None:
    """Return what is wrong with any mint, judged by one without transcription. A 5xx may pass, and is none."""
    simple = {
        Outcome.NO_DEPLOYMENT: Fault.NO_DEPLOYMENT,
        Outcome.NOT_REALTIME: Fault.NOT_REALTIME,
        Outcome.THROTTLED: Fault.THROTTLED,
        Outcome.NO_ANSWER: Fault.NO_ANSWER,
    }
    if call.outcome in simple:
        return simple[call.outcome]
    if call.outcome is Outcome.DENIED:
        return _denial(call)
    if call.outcome is Outcome.FAILED and call.status is not None and 300 <= call.status < 500:
        return Fault.REJECTED if call.status == 400 else Fault.NOT_FOUND
    return None


def _denial(call: Call) -> Fault:
    if call.code == "PermissionDenied":
        return Fault.ROLE
    if call.status == 401:
        return Fault.AUDIENCE
    return Fault.NETWORK_RULES if call.code == "AccessDenied" else Fault.FORBIDDEN
