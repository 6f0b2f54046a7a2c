"""gemtop: a live profiler for Gemma 3 on llama.cpp."""

__version__ = "0.1.0.dev0"
