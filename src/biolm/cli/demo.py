"""`biolm demo`: the main job, end to end, on real papers."""

from pathlib import Path

import click

from biolm.cli.options import LocalPath, progress_for, quiet_option


@click.command()
@click.option("--out", default="demo", show_default=True, type=LocalPath(), help="Folder to fill.")
@click.option("--steps", type=click.IntRange(min=1), default=None, help="Optimizer steps.  [default: 120]")
@click.option("--base", default=None, help="Base model: folder or Hub name.  [default: the embedded MiniLM]")
@quiet_option
def demo(out: Path, steps: int | None, base: str | None, quiet: bool) -> None:
    """Take the embedded sample of papers to a further-trained, measured model, in minutes on two cores.

    Run again, it goes on where it was interrupted, and reuses what is finished.
    """
    from rich.table import Table
    from rich.text import Text

    from biolm.cli.tables import results_table, wide_console
    from biolm.demo import run_demo

    result = run_demo(out, base, steps, progress_for(quiet))
    console = wide_console()
    console.print()
    results_table(result.results, title="Test split: papers that no model was trained on here")
    table = Table(title="Fill-mask, before and after", title_justify="left", pad_edge=False)
    for heading in ("sentence", "base", "trained"):
        table.add_column(heading)
    for sentence, before, after in result.fills:
        table.add_row(sentence.replace("<mask>", "____"), Text("\n".join(before)), Text("\n".join(after)))
        table.add_section()
    console.print(table)
    trained = result.results["trained"]["overall"]["recall_at_1"]
    times = trained["value"] / result.results["unigram"]["overall"]["recall_at_1"]["value"]
    click.echo(
        f"recall@1 {trained['value']:.3f} [{trained['low']:.3f}, {trained['high']:.3f}], "
        f"{times:.1f} times the unigram baseline's"
    )
    click.echo()
    click.echo(f"loss curve     {out / 'loss.png'}")
    click.echo(f"model card     {out / 'model' / 'README.md'}")
    click.echo(f"results        {out / 'results.json'}")
    click.echo("go on with")
    click.echo(f'  biolm fill-mask {out / "model"} "Mutations in <mask> cause cancer."')
    click.echo(f"  biolm corpus show {out / 'corpus'}")
    click.echo(f"  biolm evaluate {out / 'model'} {out / 'corpus'} --split validation")
    click.echo(f"  tensorboard --logdir {out / 'run'}")
    click.echo(f"  biolm pretrain {out / 'corpus'} --base roberta-base --out my-run")
