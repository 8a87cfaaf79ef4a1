"""Scores of episodes: digest, aggregation and intervals, shared by evaluation, trainer and report."""
