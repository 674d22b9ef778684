"""The product, in plain Python: who asks, what they get, and the call that mints it.

Nothing here imports azure.functions, and nothing needs a setting until a request arrives.
"""

__version__ = "1.0.0"
