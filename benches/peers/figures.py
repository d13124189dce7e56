"""The figures of the comparison: medians, same-round ratios, and the table on the terminal."""
import statistics

BUSY_WANTED = 0.90
KEPT_ROUNDS = 5


def spread(values):
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper,
            "least": min(values), "most": max(values), "rounds": len(values)}


def summarise(rounds, names):
    """Medians over rounds, and same-round ratios of the first subject to each other."""

    def clean(*wanted):
        # rounds that others disturbed are left out while enough remain
        kept = [r for r in rounds if not any(r[name]["disturbed"] for name in wanted)]
        return kept if len(kept) >= KEPT_ROUNDS else rounds

    fields = ("cpu_us_per_request", "requests_per_second", "busy", "others", "p50_us", "p99_us")
    subjects = {name: {field: spread([r[name][field] for r in clean(name)]) for field in fields} for name in names}
    # keygate; without it nginx, so that the method can be tried on the peers alone
    first = names[0]
    ratios = {}
    for name in names[1:]:
        ratios[f"{first}/{name}"] = {
            field: spread([r[first][field] / r[name][field] for r in clean(first, name)])
            for field in ("cpu_us_per_request", "requests_per_second")
        }
    disturbed = sum(cell["disturbed"] for r in rounds for cell in r.values())
    return {"subjects": subjects, "ratios": ratios, "rounds": len(rounds), "disturbed_cells": disturbed}


def show(mode, summary):
    print(f"\n{mode}: medians of {summary['rounds']} interleaved rounds (least–most)")
    print(f"  {'subject':10} {'CPU µs/request':>24} {'requests/s':>12} {'core busy':>10} {'p99 ms':>8}")
    limited = []
    for name, figures in summary["subjects"].items():
        cpu, busy = figures["cpu_us_per_request"], figures["busy"]["median"]
        least_most = f"({cpu['least']:.1f}–{cpu['most']:.1f})"
        print(f"  {name:10} {cpu['median']:10.2f} {least_most:>13} {figures['requests_per_second']['median']:12,.0f} "
              f"{busy:10.0%} {figures['p99_us']['median'] / 1000:8.2f}")
        if mode != "paced" and busy + figures["others"]["median"] < BUSY_WANTED:
            limited.append(name)
    for pair, ratio in summary["ratios"].items():
        cpu, rate = ratio["cpu_us_per_request"], ratio["requests_per_second"]
        print(f"  CPU {pair.replace('/', ' ÷ ')} = {cpu['median']:.3f} (half of the {cpu['rounds']} rounds within "
              f"{cpu['lower_quartile']:.3f}–{cpu['upper_quartile']:.3f}, all within {cpu['least']:.3f}–{cpu['most']:.3f}); "
              f"requests/s {rate['median']:.2f}")
    if limited:
        print(f"  the load was the limit for {', '.join(limited)}: CPU per request holds, requests/s does not")
    if summary["disturbed_cells"]:
        print(f"  {summary['disturbed_cells']} cells stayed disturbed by others and count only where too few were clean")
