"""The rivals in the benchmark give the scores of the model that they claim to run."""

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from bench import peers

WORDS = "the sea is salt and wide rivers carry stones to it winds blow over what river where wind".split()
QUERY = "what is the river"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random pair model with a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("model")
    vocab = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=list(peers.INPUTS),
        model_max_length=peers.LONGEST,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
    )
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def passages() -> list[str]:
    """Texts of 1 to 700 words: more than one batch, and longer than the model reads."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, length)) for length in (*random.integers(1, 40, 35), 700)]


def expected(folder: Path, texts: list[str]) -> peers.Floats:
    """One pair at a time through the plain model: no batch, no padding, no sorting."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        pairs = [tokenizer(QUERY, text, truncation=True, max_length=512, return_tensors="pt") for text in texts]
        return np.array([model(**pair).logits.item() for pair in pairs], np.float32)


def check(peer: peers.Peer, folder: Path, texts: list[str]) -> None:
    """Every batch size gives the plain model's scores, in the order of the passages."""
    right = expected(folder, texts)
    for peer.batch_size in peers.BATCH_SIZES:
        scores = peer.score(QUERY, texts)
        assert scores.dtype == np.float32 and scores.shape == right.shape
        assert np.abs(scores - right).max() <= peer.tolerance * right.std()


def test_batches_change_nothing(checkpoint: Path, passages: list[str]) -> None:
    """The tokenizing, sorting and padding that the compiled peers share, around the plain torch model."""
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()

    def forward(inputs: peers.Inputs) -> peers.Floats:
        with torch.no_grad():
            logits = model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits
        return np.asarray(logits[:, 0].numpy(), np.float32)

    check(peers.Peer("plain", peers.FLOAT32_TOLERANCE, peers._batched(checkpoint, forward)), checkpoint, passages)


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="needs the bench extra")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sentence_transformers(checkpoint: Path, passages: list[str], precision: str) -> None:
    check(peers.sentence_transformers(checkpoint, f"torch {precision}"), checkpoint, passages)


@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="needs the bench extra")
def test_onnxruntime(checkpoint: Path, passages: list[str]) -> None:
    check(peers.onnxruntime(checkpoint, "onnxruntime float32"), checkpoint, passages)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs the bench extra")
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # where other tests of the process have imported it
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino(checkpoint: Path, passages: list[str], precision: str) -> None:
    try:
        peer = peers.openvino(checkpoint, f"openvino {precision}")
    except RuntimeError as error:
        if "this processor" not in str(error):
            raise
        pytest.skip(str(error))
    check(peer, checkpoint, passages)


def test_absent_backends_are_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sentence_transformers", "onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, module, None)  # Python's own way to say that there is no such module
    running, missing = peers.load(checkpoint)
    assert running == []
    assert missing["openvino bfloat16"] == "not installed: openvino"
    assert len(missing) == 5


def test_failing_backends_are_named(tmp_path: Path) -> None:
    running, missing = peers.load(tmp_path)
    assert running == []
    assert len(missing) == 5 and all(missing.values())


def test_tuning_keeps_the_fastest() -> None:
    def score(query: str, texts: Sequence[str], size: int) -> npt.NDArray[np.float32]:
        time.sleep(0 if size == 25 else 0.1)
        return np.zeros(len(texts), np.float32)

    peer = peers.Peer("sleeping", 0.0, score)
    peer.tune([(QUERY, WORDS)])
    assert peer.batch_size == 25
