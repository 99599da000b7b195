"""Serves one model to OpenAI clients over HTTP: `simmim serve`."""
