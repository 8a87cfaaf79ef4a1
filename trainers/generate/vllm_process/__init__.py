"""Files that run in the process of vLLM's server, whose environment may lack this package: they import nothing of it."""
