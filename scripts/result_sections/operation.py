"""Sections about reports, serving, attacks and faults."""

from __future__ import annotations

from result_sections.shared import load, machine, number, table


def report_scale() -> str:
    """The report of ten thousand episodes in headless Chromium."""
    record = load("report_scale")
    actions = record["action_ms"]
    rows = [
        ("size of the page", f"{record['page_mb']:.0f} MB (trajectories: {record['trajectories_mb']:.0f} MB)"),
        ("writing it", f"{record['write_seconds']:.0f} s"),
        ("opening it", f"{record['load_ms']} ms"),
        *((name.replace("_", " "), f"{value} ms") for name, value in actions.items()),
    ]
    return "\n\n".join([table((f"{record['episodes']:,} episodes", ""), rows), machine(record), "`python -m benchmarks.report_scale`"])


def soak() -> str:
    """Return attacks and faults with the counts that were tried and held."""
    record = load("soak")
    episodes, found = record["soak"]["episodes"], record["soak"]
    attacks = [[row["attack"], f"{row['tried']:,}", f"{row['held']:,}", row["remark"]] for row in record["attacks"]]
    faults = [
        [where, name, f"{count['tried']:,}", f"{count['held']:,}"]
        for where, key in (("the command", "faults_of_the_command"), ("agents and environments", "faults_of_agents_and_environments"))
        for name, count in found[key].items()
    ]
    long = [
        [
            name.replace("-long", "").replace("-", ", "),
            f"{run['episodes']:,}",
            f"{run['mb'][0]:.0f} to {run['mb'][-1]:.0f}",
            "{slope:+.2f} [{low:+.2f}, {high:+.2f}]".format_map(run["mb_per_1000_episodes"]),
            f"{run['records_mb_per_1000_episodes']:.2f}",
            f"{run['open_files_per_1000_episodes']['slope']:+.1f}",
            run["open_files_most"],
            run["open_sockets_most"],
        ]
        for name, run in found["memory"].items()
    ]
    return "\n\n".join(
        [
            table(["attack", "tried", "held", "measured"], attacks),
            f"Soak: {episodes['planned']:,} episodes in the three embedded worlds, through {found['attempts']} starts of `empg-gym eval`, "
            f"{found['attempts_in_background']} of them with SIGINT ignored as in background jobs; "
            f"{found['episodes_through_faults_of_the_command']:,} of the episodes went through faults of the command. "
            f"In the run folders are {episodes['episodes']:,} episodes, {episodes['missing']} missing and {episodes['twice']} twice; "
            f"{episodes['retried']:,} were retried within a run, {episodes['errors']} are recorded as errors. A fault holds if no process "
            "of the command is left, its output has no traceback, and the resumed run has every episode once. A full disk is a limit on "
            "the size of the command's files.",
            table(["fault of", "fault", "tried", "held"], faults),
            f"Processes left: {found['processes_left']}. Tracebacks: {found['tracebacks']}. Unexpected files: {found['other_files']}.",
            "Memory of the commands that ran longest, in MB, after a garbage collection every 100 episodes: from the first sample to the "
            "last, and the growth per 1,000 episodes after the first quarter of them [95 %]. The records of the episodes, from which the "
            "summary is computed, are a part of it; the rest are caches of bounded size that fill.",
            table(["run", "episodes", "MB", "growth", "of it records", "open files per 1,000", "at most", "sockets at most"], long),
            machine(record),
            "`python -m benchmarks.soak`",
        ]
    )


def serve_load() -> str:
    """The environment server under load and faults."""
    record = load("serve_load")
    rows = []
    for key, what in (("openenv", "OpenEnv's protocol, one step a message"), ("batched", "`connect_batch`, many steps a message")):
        run = record[key]
        both = run["server_cpu_ms_per_step"] + run["client_cpu_ms_per_step"]
        rows.append(
            (
                what,
                run["sessions"],
                number(run["steps_per_second"]),
                f"{run['server_cpu_ms_per_step']:.3f} ms + {run['client_cpu_ms_per_step']:.3f} ms",
                number(2000 / both),
                number(run["server_steps_per_core_second"]),
                number(8 * run["server_steps_per_core_second"]),
            )
        )
    single, faults = record["openenv"], record["faults"]
    kinds = [
        ("undisturbed", "nothing"),
        ("cut_connections", "100 connections cut in the middle of a call"),
        ("slow_readers", "20 clients that send and never read"),
        ("malformed_and_oversized", "200 malformed or oversized messages"),
        ("killed_worker", "a worker killed (kill -9)"),
    ]
    noticed = [(what, faults[key]["equal"], faults[key]["different"], faults[key]["failed"]) for key, what in kinds]
    head = (
        "real ALFWorld, two workers, clients on the same two cores",
        "sessions",
        "steps/s, measured",
        "CPU per step, server + clients",
        "steps/s of two idle cores",
        "steps/s of a core for the server",
        "steps/s of 8 cores for the server",
    )
    killed = faults["killed_worker"]
    return "\n\n".join(
        [
            table(head, rows),
            f"{single['sessions']} sessions were held, each in an episode of its own, in {number(single['memory_mb'])} MB of both "
            f"workers; all of them stepping at once, the median answer took {number(single['median_ms'])} ms and the 99th percentile "
            f"{number(single['p99_ms'])} ms. The last three columns are computed from the CPU seconds: the machine ran other jobs "
            f"(load average {record['load_average']:.1f} before the start), and the fastest of several runs is "
            f"shown. A step in this process takes {record['local']['cpu_ms_per_step']:.3f} ms. OpenEnv reports "
            "2,048 sessions and 932 requests per second on 8 cores with an environment that does nothing.",
            f"The same two workers held {number(record['held']['sessions'])} sessions in {number(record['held']['memory_mb'])} MB, "
            "and answered all of them.",
            f"What {faults['sessions']} other sessions notice, each step compared with the local environment:",
            table(("what happens", "steps equal", "different", "failed"), noticed),
            f"The killed worker held {killed['sessions_of_the_worker']} of these sessions, which failed once and played on after the next "
            f"reset; {killed['workers_afterwards']} workers served again afterwards.",
            machine(record),
            "`python -m benchmarks.serve_load --python .venv-openenv/bin/python`",
        ]
    )


def identity() -> str:
    """The same episodes through every door."""
    record = load("identity")
    rows = []
    for door in record["doors"].values():
        environments = door["environments"].values()
        total = {key: sum(of[key] for of in environments) for key in ("episodes", "steps", "differing")}
        package = f"{door['package']} {door['version']}"
        rows.append((door["title"], package, number(total["episodes"]), number(total["steps"]), total["differing"]))
    return "\n\n".join(
        [
            "Episodes of all three environments, mostly the expert's actions, some random, some invalid; observation, reward and ending of "
            "every step compared with `gymnasium.make` in the same process:",
            table(("door", "package", "episodes", "steps", "episodes that differ"), rows),
            machine(record),
            "`python -m benchmarks.identity` in each environment that `make test-adapters` makes",
        ]
    )


def serve_container() -> str:
    """The containers of the three benchmarks, judged by OpenEnv with Docker."""
    record = load("serve_container")
    rows = []
    for name, row in record["environments"].items():
        package, episodes = row["package"], row["episodes"]
        skipped = sum(map(len, package["skipped"].values()))
        rows.append(
            (
                f"`{name}`",
                f"{len(package['passed'])} passed, {len(package['failed'])} failed, {skipped} without a grader",
                f"{sum(row['url'].values())} of {len(row['url'])} passed",
                f"{episodes['differing']} of {episodes['episodes']} ({episodes['steps']} steps)",
                f"{row['image_mb']} MB",
            )
        )
    passed = ", ".join(f"`{name}`" for name in record["environments"]["alfworld"]["package"]["passed"])
    return "\n\n".join(
        [
            "The folders of `empg-gym serve space`, built by `openenv validate` and run as it runs them: no network, a read-only file "
            "system, another user. Then a container of the same image, checked by `openenv validate --url` and played through "
            "`empg_gym.connect`:",
            table(("environment", "checks of the package", "checks of the address", "episodes that differ from local", "image"), rows),
            f"Passed: {passed}. OpenEnv {record['machine']['packages']['openenv']} names further checks without having a grader for "
            f"them. Docker {record['docker']}; base image: {record['base_image']}; OpenEnv's helper image: {record['helper_image']}.",
            machine(record),
            "`python -m benchmarks.serve_container --wheels build/wheels` in `.venv-openenv`",
        ]
    )
