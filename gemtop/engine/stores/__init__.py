"""Where models are kept on this machine, one module a program. None of them reads a header or needs llama.cpp."""
