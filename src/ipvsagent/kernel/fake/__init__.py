"""An in-memory kernel for tests: `kernel.FakeKernel`, with one module for each of its tables."""
