"""The reference client: a wav file in, its transcript out, by the same steps as a phone or a browser."""
