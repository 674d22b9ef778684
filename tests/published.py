"""`python -I -S tests/published.py APP PROTOS`: runs a published package, with nothing else on the path.

What Azure's Python worker does, without its sockets: index the app, load each function, invoke. -I and -S leave
the standard library; APP and what was installed beside it are added here, as the worker adds them. Each line of
standard input is a request as JSON; each line of output is what came of it, and the first tells of the start.
"""

import asyncio
import importlib.util
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
APP, PROTOS = Path(sys.argv[1]), sys.argv[2]
sys.path[:0] = [str(APP), str(APP / ".python_packages/lib/site-packages")]
os.chdir(APP)
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")

# The stand-ins for protobuf's messages are the worker's part, so that they come by path and not by package.
spec = importlib.util.spec_from_file_location("protos", PROTOS)
assert spec
assert spec.loader
protos: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(protos)


def message(**fields: Any) -> Any:
    return protos.Message(**fields)


def tell(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - standard output is how it talks


async def index() -> dict[str, str]:
    """Index the app, tell of the start, and return the id of each function by its route."""
    import azure_functions_runtime as runtime  # noqa: PLC0415 - the path has to be set first

    runtime.start_threadpool_executor()
    init = message(capabilities={}, function_app_directory=str(APP))
    request = message(
        request=message(worker_init_request=init), properties={"protos": protos, "host": "127.0.0.1"}
    )
    result = (await runtime.worker_init_request(request)).result
    if result.status != protos.StatusResult.Success:
        sys.exit(f"{result.exception.message}\n{result.exception.stack_trace}")
    routes = {}
    for function in (await runtime.functions_metadata_request(request)).function_metadata_results:
        load = message(request=message(function_load_request=message(function_id=function.function_id)))
        await runtime.function_load_request(load)
        bindings = [json.loads(binding) for binding in function.raw_bindings]
        routes[next(one["route"] for one in bindings if "route" in one)] = function.function_id
    took = {"seconds": round(time.perf_counter() - STARTED, 2), "cpu_seconds": round(time.process_time(), 2)}
    tell({"routes": sorted(routes), **took})
    return routes


async def invoke(function_id: str, asked: dict[str, Any]) -> dict[str, Any]:
    import azure_functions_runtime as runtime  # noqa: PLC0415 - see above

    http = protos.RpcHttp(
        method=asked["method"],
        url=f"https://app.invalid/api/{asked['route']}",
        headers={},
        query={},
        params={},
        body=protos.TypedData(bytes=asked.get("body", "").encode()),
    )
    call = message(
        invocation_id="1",
        function_id=function_id,
        input_data=[protos.ParameterBinding(name="req", data=protos.TypedData(http=http))],
        trigger_metadata={},
        trace_context=message(trace_parent="", trace_state="", attributes={}),
        retry_context=message(retry_count=0, max_retry_count=0, exception=None),
    )
    reply = await runtime.invocation_request(message(request=message(invocation_request=call)))
    if reply.result.status != protos.StatusResult.Success:
        sys.exit(reply.result.exception.stack_trace)
    answer = reply.return_value.http
    return {
        "status": int(answer.status_code),
        "headers": dict(answer.headers),
        "body": json.loads(answer.body.bytes),
    }


async def main() -> None:
    routes = await index()
    for line in sys.stdin:
        asked = json.loads(line)
        if "import" in asked:
            for name in asked["import"]:
                importlib.import_module(name)
            files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
            tell({"path": sys.path, "files": sorted(file for file in files if file)})
        else:
            tell(await invoke(routes[asked["route"]], asked))


if __name__ == "__main__":
    asyncio.run(main())
