"""The benchmarks, one folder each: text in, text out; no model, no tokens, no torch."""
