"""Scores of episodes, shared by evaluation, trainer and report.

Where to look:
    record        one episode in numbers, and its outcome
    estimates     means with their 95 % intervals, pass@k
    headline      the numbers shown first: episodes, errors, success, score
    intervals     the mathematics of the intervals
    actions       invalid actions and entropies of steps
    failures      what failed episodes report
    usage         tokens, cost and seconds
    prices        price of tokens
    aggregate     all of these as an entry of `summary.json`
    format        numbers as text

Rules:
    - An episode that failed by an error of the environment or of the agent's endpoint says nothing about the agent: it enters no rate,
      mean or interval, here or anywhere else, and its number is shown beside them.
    - Where there are errors, success and score over all episodes, with errors as 0, are shown beside those without them and named so:
      an agent that fails its hard episodes on purpose raises only the latter.
    - An episode that hit a limit (steps, tokens, seconds) or that the agent ended is scored as it is.
    - Without a scored episode, rates and intervals are None.
"""
