"""Our domain and grammar in TextWorld's languages, from which a `game.tw-pddl` is made."""
