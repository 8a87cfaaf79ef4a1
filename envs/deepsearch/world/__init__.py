"""The embedded world: a generated, fictional encyclopedia and questions about it. Nothing in it can be answered from memory."""
