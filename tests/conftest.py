"""Tiny real things for every test: tokenizers trained here, random models of the real families."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

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

    cls, size = (RobertaTokenizerFast, 400) if family == "roberta" else (BertTokenizerFast, 300)
    if family == "roberta":
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
    from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

    tokenizer = _tokenizer(family)
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,
    }
    if family == "roberta":
        model = RobertaForMaskedLM(
            RobertaConfig(
                **shape, max_position_embeddings=130, type_vocab_size=1, bos_token_id=0, eos_token_id=2
            )
        )
    else:
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
