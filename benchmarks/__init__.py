"""How fast the endpoint is, next to a bare `requests` loop in the same run: `python -m benchmarks`.

Figures, not tests: nothing here fails because a machine is slow. Linux only, since CPU time is read from /proc.
"""
