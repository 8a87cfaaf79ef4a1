"""Our domain and grammar in TextWorld's languages, the ingredients of a `game.tw-pddl` file."""
