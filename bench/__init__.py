"""Benchmarks: figures of the product, most of them as ratios within one run."""
