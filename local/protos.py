"""Plain objects in place of the protobuf messages that Azure's Python worker passes to its runtime.

Only what the runtime touches for HTTP functions is here; another kind of binding may need more.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Any


class Message:
    """Fields by keyword. Unlike protobuf's, a field that was not set is missing, not zero."""

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 (the fields are protobuf's, typed nowhere in Python)
        self.__dict__ = fields

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401 (as above)


class TypedData(Message):
    """A value, in the one field that is named after its kind: `http`, `bytes`, `string` and so on."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 (protobuf's name, called by the runtime)
        """Name the field that is set."""
        return next(iter(self.__dict__), None)


class ParameterBinding(Message):
    """A function's argument: its `name`, and the value in `data`."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 (protobuf's name, called by the runtime)
        """Name the field that is set; the other choice, shared memory, went with Python 3.13."""
        return "data"


class StatusResult(Message):
    """How a call ended, and the exception if it failed."""

    Failure, Success, Cancelled = range(3)


class BindingInfo(Message):
    """A trigger or binding; the numbers are those of azure.functions' BindingDirection and DataType."""

    out, inout = 1, 2
    undefined = 0


class RpcHttpCookie(Message):
    """A cookie of a reply, parsed."""

    # "None" means that the attribute is not there; `SameSite=None` written out is ExplicitNone.
    SameSite = IntEnum("SameSite", {"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})


# The rest carry fields and nothing else, so one class answers to all of the names that the runtime looks up.
FunctionLoadResponse = FunctionMetadataResponse = InvocationResponse = WorkerInitResponse = WorkerMetadata = (
    Message
)
RpcException = RpcFunctionMetadata = RpcHttp = RpcRetryOptions = Message
NullableBool = NullableDouble = NullableString = NullableTimestamp = Timestamp = Message
