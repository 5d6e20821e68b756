"""``durable bench``: every budget that applies to the store, as figures and as ratios to the raw limit of the same store in the same run."""


def main(store_url: str | None = None, as_json: bool = False, sleepers: int = 20_000) -> None:
    """Measure and print; ``report.report`` says what the arguments are."""
    from runtime.bench.report import report

    report(store_url, as_json=as_json, sleepers=sleepers)
