"""Sections about the environments and retrieval, and the README's evidence."""

from __future__ import annotations

from result_sections.shared import load, machine, number, percent, table


def alfworld_proof() -> str:
    """ALFWorld against upstream's engine."""
    record = load("alfworld_proof")
    walks = [
        (kind, part["games"], part["steps"], part["inadmissible_texts"], len(part["differences"]))
        for kind, part in (("official", record["official_walks"]), ("generated", record["generated_walks"]))
    ]
    experts = [(name, part["games"], part["won"], part["mean_steps"]) for name, part in record["experts"].items()]
    scripts = record["transcripts"]
    return "\n\n".join(
        [
            "Random walks, each step compared with TextWorld: feedback, admissible actions, won (both wordings).",
            table(("games", "number", "steps", "of them inadmissible texts", "differences"), walks),
            "The expert on every game:",
            table(("games", "number", "won", "mean steps"), experts),
            f"Published transcripts (ReAct, Reflexion): of {scripts['distinct']} episodes {scripts['identified_by_intro_and_goal']} name a "
            f"known game by opening and goal, and {scripts['all_observations_equal']} replay with every observation equal; "
            f"{scripts['note']}.",
            machine(record),
            "`python -m benchmarks.alfworld_proof`",
        ]
    )


def alfworld_speed() -> str:
    """ALFWorld's speed next to TextWorld's."""
    record = load("alfworld_speed")
    side = record["side_by_side"]
    rows = [
        ("steps a second, with admissible actions", number(record["steps"]["steps_per_second"])),
        ("the same next to TextWorld, same games and actions", number(side["ours_steps_per_second"])),
        ("TextWorld's own engine", number(side["textworld_steps_per_second"])),
        ('`engine="textworld"` (TextWorld with its parses kept)', number(side["engine_textworld_steps_per_second"])),
        ("ratio, ours to TextWorld", number(side["ours_to_textworld"])),
        ("compiling a game, mean", f"{record['compile']['mean_ms']:.2f} ms"),
        ("reset, mean", f"{record['reset']['mean_ms']:.3f} ms"),
        ("TextWorld's load and reset, mean", f"{side['textworld_load_and_reset']['mean_ms']:,.0f} ms"),
    ]
    return "\n\n".join([table(("one core, official games", ""), rows), machine(record), "`python -m benchmarks.alfworld_speed`"])


def deepsearch_agents() -> str:
    """Deep Search's agents on every split and on the reference corpus."""
    record = load("deepsearch_agents")
    parts = [(f"embedded, {name}", part) for name, part in record["embedded"].items() if isinstance(part, dict)]
    parts += list(record["reference"].items())
    rows = []
    for name, part in parts:
        agents = part["agents"]
        rows.append(
            (name, agents["expert"]["episodes"], *(percent(agents[who]["success_rate"]) for who in ("expert", "one-shot", "random")))
        )
    head = ("questions", "episodes", "expert", "one-shot searcher", "random")
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.deepsearch_agents`"])


def retrieval_speed() -> str:
    """BM25 next to bm25s and tantivy."""
    record = load("retrieval_speed")
    rows = []
    for size, engines in record["sizes"].items():
        for name, part in engines.items():
            if "query" not in part:
                continue
            query = part["query"]["retriever"]
            rows.append(
                (
                    f"{int(size):,}",
                    {"bm25": "ours"}.get(name, name),
                    f"{query['warm_p50_ms']:.2f} ms",
                    f"{query['warm_p99_ms']:.1f} ms",
                    f"{part['build']['seconds']:,.0f} s",
                    f"{part['memory']['further_worker_pss_mb']:.0f} MB",
                )
            )
    lucene = record["lucene"]
    same = [
        ({"bm25": "ours"}.get(name, name), f"{lucene[name]['overlap_at_10']:.3f}", f"{lucene[name]['identical_50']:.3f}")
        for name in ("bm25", "bm25s", "tantivy")
    ]
    return "\n\n".join(
        [
            table(("passages", "engine", "query p50", "p99", "build", "a further worker (PSS)"), rows),
            f"The ranking of Lucene on {lucene['queries']} reference queries:",
            table(("engine", "overlap of the first 10", "identical lists of 50"), same),
            str(record["notes"]),
            machine(record),
            "`python -m benchmarks.retrieval_speed`",
        ]
    )


def retrieval_recall() -> str:
    """Recall of gold passages next to the specification's."""
    record = load("retrieval_recall")
    ranks = record["recall_at"]
    rows = [
        (name, who, part["questions"], *(f"{value:.3f}" for value in part["recall"]))
        for name, sides in record["sets"].items()
        for who, part in sides.items()
    ]
    head = ("questions of", "", "number", *(f"recall at {rank}" for rank in ranks))
    return "\n\n".join([table(head, rows), record["notes"], machine(record), "`python -m benchmarks.retrieval_recall`"])


def retrieval_lucene() -> str:
    """Our ranking next to Lucene's on the reference corpus."""
    record = load("retrieval_lucene")
    rows = [
        (name, f"{part['queries']:,}", f"{part['same_first']:,}", f"{part['identical_10']:,}", f"{part['identical_50']:,}")
        for name, part in record["sets"].items()
    ]
    head = ("queries of", "number", "same first passage", "same list of 10", "same list of 50")
    text = f"Lists of ids compared with those of Lucene ({record['lucene']}) on the reference corpus of {record['passages']:,} passages:"
    return "\n\n".join([text, table(head, rows), machine(record), "`python -m benchmarks.retrieval_lucene JAR`"])


def deepsearch_speed() -> str:
    """Deep Search's steps a second."""
    record = load("deepsearch_speed")
    rows = []
    for name in ("embedded", "reference"):
        part = record[name]
        rows.append((f"{name}, {part['passages']:,} passages", *(number(value) for value in part["steps_per_second"].values())))
    head = ("steps a second (CPU time)", *record["embedded"]["steps_per_second"])
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.deepsearch_speed --data ../shared/data/deepsearch`"])


def webshop_speed() -> str:
    """WebShop's steps a second in every mode."""
    record = load("webshop_speed")
    rows = [
        (
            mode,
            number(part["steps_per_s"]),
            number(part["clicks_per_s"]),
            number(part["clicks_without_purchases_per_s"]),
            number(part["searches_per_s"]),
            f"{part['reset_ms']:.3f} ms",
        )
        for mode, part in record.items()
        if isinstance(part, dict) and "steps_per_s" in part and mode != "targets"
    ]
    head = ("observation", "random valid steps/s", "clicks/s", "clicks/s without purchases", "searches/s", "reset")
    return "\n\n".join([f"{record['catalogue'].capitalize()}.", table(head, rows), machine(record), "`python -m benchmarks.webshop_speed`"])


def webshop_scale() -> str:
    """WebShop with a million products."""
    record = load("webshop_scale")
    build, use, memory = record["build"], record["use"], record["memory"]
    rows = [
        ("build, all of it", f"{build['total_s']:,.0f} s, {build['peak_memory_mb']:,.0f} MB at most"),
        ("open", f"{1000 * use['open_s']:.0f} ms"),
        ("search, p50 / p95", f"{use['search_p50_ms']:.1f} / {use['search_p95_ms']:.1f} ms"),
        ("first process (PSS)", f"{memory['first_process_alone_mb']:,.0f} MB"),
        ("added to the sum of PSS by each further worker", f"{memory['added_by_a_further_worker_mb']:.1f} MB"),
        (f"PSS of a worker among {memory['workers'] + 1}", f"{memory['each_further_worker_mb']:.1f} MB at most"),
    ]
    head = (f"{record['products']:,} generated products", "")
    return "\n\n".join([table(head, rows), machine(record), f"`python -m benchmarks.webshop_scale --products {record['products']}`"])


def webshop_agents() -> str:
    """WebShop's expert and random agents on every split."""
    record = load("webshop_agents")
    rows = [
        (world, name, part["goals"], part["without_a_way"], f"{part['score']:.3f}", percent(part["success"]), part["steps"])
        for world in ("embedded", "official")
        for name, part in record.get(world, {}).items()
    ]
    head = ("catalogue", "goals, split, agent", "goals", "of them without a solution", "score", "success", "steps")
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.webshop_agents`"])


def webshop_ratio() -> str:
    """The decisions of the fast token_set_ratio."""
    record = load("webshop_ratio")
    rows = [(name, f"{part['pairs']:,}", f"{part['matches']:,}", part["disagreements"]) for name, part in record["decisions"].items()]
    text = (
        f"Every pair of the reference data, decided by ours and by {record['full_ratio']}; ours is {record['speed_up']:.1f} times as fast."
    )
    return "\n\n".join(
        [text, table(("pairs of", "number", "matches", "disagreements"), rows), machine(record), "`python -m benchmarks.webshop_ratio`"]
    )


def readme_proof() -> str:
    """The evidence that the environments match the benchmarks."""
    alfworld, speed = load("alfworld_proof"), load("alfworld_speed")
    retrieval, agents = load("retrieval_speed"), load("deepsearch_agents")
    walks = alfworld["official_walks"], alfworld["generated_walks"]
    steps, differences = sum(part["steps"] for part in walks), sum(len(part["differences"]) for part in walks)
    same, corpus = retrieval["lucene"], load("retrieval_lucene")["sets"].values()
    queries, identical = sum(part["queries"] for part in corpus), sum(part["identical_50"] for part in corpus)
    musique = agents["reference"]["musique_train60, top_k=3"]["agents"]
    lines = [
        f"ALFWorld: {steps:,} random steps compared with TextWorld, {differences} differences; the expert solves all "
        f"{alfworld['experts']['official train [new]']['won']:,} official training games; "
        f"{number(speed['steps']['steps_per_second'])} steps a second on one core; "
        f"with the same games and actions {number(speed['side_by_side']['ours_to_textworld'])} times as fast as TextWorld.",
        "WebShop: upstream's golden episodes replay step by step in our tests, goals and prices included; search gives Lucene's own "
        f"ranking on {percent(same['bm25']['identical_50'])} of {same['queries']} reference queries.",
        f"Deep Search: the expert answers {percent(musique['expert']['success_rate'])} of {musique['expert']['episodes']} MuSiQue "
        f"questions over 9,002 passages, a one-shot searcher {percent(musique['one-shot']['success_rate'])}; search over them gives "
        "Lucene's first 50 in their order for "
        f"{identical:,} of {queries:,} queries.",
    ]
    return "The evidence ([all results](docs/results.md)):\n\n" + "\n".join(f"- {line}" for line in lines)
