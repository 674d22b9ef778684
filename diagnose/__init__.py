"""The doctor: measures a real Azure OpenAI resource and says what to set; `python -m diagnose --help`.

Never deployed. It mints real client secrets, which cost nothing until used, and drops every one of them.
"""
