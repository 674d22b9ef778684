"""A fresh process that does what a worker of the platform does, and says on stdout when each step was done.

Started by benchmarks/cold.py with the step that it is to end with. No host is around the app, which knows nothing
of being watched.
"""

import json
import sys
import time

STEPS = ("asked", "platform", "indexed", "answered")


def main() -> None:
    """Do the steps up to the one that the command line names."""
    seen = {"asked": time.time()}
    wanted = STEPS.index(sys.argv[1])
    import azure.functions as func  # noqa: PLC0415 - timed; every function in Python has to wait for it

    seen["platform"] = time.time()
    if wanted >= STEPS.index("indexed"):
        import function_app  # noqa: PLC0415 - timed

        functions = {one.get_function_name(): one.get_user_function() for one in function_app.app.get_functions()}
        seen["indexed"] = time.time()
    if wanted >= STEPS.index("answered"):
        import asyncio  # noqa: PLC0415 - azure.functions has imported it

        answer = asyncio.run(functions["client_secrets"](func.HttpRequest("POST", "/", body=b"{}")))
        seen["answered"] = time.time()
        assert answer.status_code == 200, answer.get_body()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
