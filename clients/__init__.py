"""What talks to the endpoint and to Azure: a browser module with a demo page, and a Python reference client."""
