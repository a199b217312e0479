"""Papers for the tests of the corpus: as records, and as PubMed XML on disk."""

import hashlib
import random
from pathlib import Path

from hypothesis import strategies as st

from biolm.artifacts import new_folder, write_manifest
from biolm.corpus.card import render_card
from biolm.corpus.config import CorpusConfig
from biolm.corpus.extract import write_extract
from biolm.corpus.reader import KIND, VERSION, Corpus, open_corpus
from biolm.corpus.resolve import resolve
from biolm.corpus.split import Shares
from biolm.corpus.workspace import TABLES, Workspace
from biolm.corpus.write import REPORT, write_corpus, write_report
from biolm.progress import Silent
from biolm.records import Abstract, Article, Deletion, Figure, Unreadable

ALL_TRAIN = Shares(train=1, validation=0, test=0)

WORDS = (
    "protein kinase cells mutation cancer binding phosphorylation expression mouse neurons signalling "
    "membrane western blot treatment inhibitor control receptor antibody gene pathway tumour growth"
).split()


def article(number: int = 1, **fields: object) -> Article:
    """A paper with an abstract of about 200 characters, unless `fields` says otherwise."""
    given = {
        "source": f"papers.xml#{number}",
        "pmid": str(number),
        "title": f"Paper {number}",
        "abstracts": (Abstract(text=f"Abstract of paper {number}. " + prose(number)),),
        "content_hash": hashlib.sha256(str(number).encode()).hexdigest(),
    }
    return Article(**(given | fields))


def corpus_of(folder: Path, *shards: list[Article | Unreadable | Deletion], **settings: object) -> Corpus:
    """A corpus of records, each list of them as one shard, in `folder`/corpus."""
    config = CorpusConfig(**({"shares": ALL_TRAIN} | settings))
    workspace = Workspace(str(folder / "work"))
    keys = [f"{number:04d}" for number in range(len(shards))]
    facts = []
    for key, records in zip(keys, shards, strict=True):
        with workspace.draft() as draft:
            tables = {name: Path(draft, name) for name in TABLES}
            facts.append(write_extract(records, tables["articles"], tables["passages"], config.extraction()))
            workspace.keep(key, facts[-1], tables)
    deletions = [deletion for extract in facts for deletion in extract.deletions]
    resolution = resolve(workspace, keys, deletions, config)
    with new_folder(folder / "corpus", kind=KIND) as out:
        unreadable = (pair for extract in facts for pair in extract.unreadable)
        failed, _ = write_report(out / REPORT, unreadable)
        counts = write_corpus(out, workspace, keys, resolution, config, None, Silent())
        said = counts.facts(articles=len(resolution.documents.document), failed=failed, fate=resolution.fate)
        said |= {"settings": config.settings(), "sources": [], "command": "biolm corpus build x"}
        (out / "README.md").write_text(render_card(said))
        write_manifest(out, kind=KIND, version=VERSION, **said)
    return open_corpus(folder / "corpus")


def rows_of(corpus: Corpus) -> list[dict]:
    """Every passage kept."""
    return [
        row for split in corpus.splits for batch in corpus.iter_batches(split) for row in batch.to_pylist()
    ]


def dropped(corpus: Corpus) -> dict[str, int]:
    """Passages dropped, by reason."""
    return {reason: count for reason, count in corpus.manifest["counts"]["dropped"].items() if count}


def prose(seed: int, words: int = 25) -> str:
    """Words that the seed decides."""
    return " ".join(random.Random(seed).choices(WORDS, k=words)).capitalize() + "."


def write_pubmed(path: Path, numbers: range, words: int = 60) -> Path:
    """A PubMed file with one record a number."""
    records = "\n".join(
        f"""<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{n}</PMID>
<Article><Journal><JournalIssue><PubDate><Year>{2000 + n % 20}</Year></PubDate></JournalIssue>
<Title>Journal {n % 7}</Title></Journal><ArticleTitle>Paper {n}.</ArticleTitle>
<Abstract><AbstractText>{prose(n, words)}</AbstractText></Abstract><Language>eng</Language></Article>
</MedlineCitation><PubmedData><ArticleIdList><ArticleId IdType="pubmed">{n}</ArticleId>
<ArticleId IdType="doi">10.1000/paper.{n}</ArticleId></ArticleIdList></PubmedData></PubmedArticle>"""
        for n in numbers
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>{records}</PubmedArticleSet>\n',
        encoding="utf-8",
    )
    return path


_texts = st.one_of(st.sampled_from(["", "  ", "short", "x" * 30, "y" * 31, "y" * 31]), st.text(max_size=60))
_ids = st.one_of(st.none(), st.sampled_from(["1", "2", "3", "4"]))


@st.composite
def articles(draw: st.DrawFn) -> Article:
    """Articles that share ids, repeat texts, lack abstracts, or have several."""
    return Article(
        source=draw(st.sampled_from(["a.xml", "b.xml"])),
        pmid=draw(_ids),
        pmcid=draw(_ids.map(lambda digits: digits and f"PMC{digits}")),
        doi=draw(_ids.map(lambda digits: digits and f"10.1/{digits}")),
        title=draw(st.text(max_size=10)),
        abstracts=tuple(
            draw(
                st.lists(
                    st.builds(
                        Abstract, text=_texts, kind=st.sampled_from([None, None, "graphical", "summary"])
                    ),
                    max_size=3,
                )
            )
        ),
        figures=tuple(
            draw(
                st.lists(st.builds(Figure, label=st.just("Fig. 1"), title=_texts, caption=_texts), max_size=3)
            )
        ),
        year=draw(st.one_of(st.none(), st.integers(1800, 2030))),
        licence=draw(st.sampled_from(["unknown", "CC-BY-4.0"])),
        content_hash=draw(st.sampled_from(["a" * 64, "b" * 64])),
    )


records = st.lists(
    st.one_of(articles(), st.builds(Unreadable, source=st.just("bad.xml"), reason=st.text(max_size=20))),
    max_size=25,
)
