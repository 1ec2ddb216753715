"""What a user would run today to score one query against many passages with an ordinary BERT pair model.

Every peer starts from the same checkpoint directory (`BertForSequenceClassification`, one label), tokenizes for itself,
sorts by length, batches, keeps its compiled model, and returns float32 logits.
"""

import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Inputs = dict[str, npt.NDArray[np.int64]]  # each [B, T of the longest]
Forward = Callable[[Inputs], Floats]

BATCH_SIZES = (16, 25, 32, 100)
LONGEST = 512
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
FLOAT32_TOLERANCE = 1e-4
BFLOAT16_TOLERANCE = 0.15
"""Largest difference to torch float32, in standard deviations of its scores: logits have no scale of their own."""


@dataclass
class Peer:
    """One way to run the model; `tolerance` is how far `agreement` may find it from torch float32."""

    name: str
    tolerance: float
    run: Callable[[str, Sequence[str], int], Floats]
    batch_size: int = BATCH_SIZES[0]

    def score(self, query: str, passages: Sequence[str]) -> Floats:
        """Logits of (query, passage) in the order of `passages`, float32 [len(passages)]."""
        return self.run(query, passages, self.batch_size)

    def tune(self, queries: Sequence[tuple[str, Sequence[str]]], sizes: Sequence[int] = BATCH_SIZES) -> float:
        """Keep the batch size with the lowest median over (query, passages); returns that median in seconds.

        The first of `queries` also warms up every size, unmeasured.
        """
        seconds = {}
        for self.batch_size in sizes:
            self.score(*queries[0])
            seconds[self.batch_size] = statistics.median(_seconds(self, query, texts) for query, texts in queries)
        self.batch_size = min(seconds, key=seconds.__getitem__)
        return seconds[self.batch_size]


def load(directory: str | Path, dtypes: Sequence[str] = ("float32", "bfloat16")) -> tuple[list[Peer], dict[str, str]]:
    """All peers of these dtypes that run here, torch float32 (the reference) first; of the others {name: why not}."""
    makers: dict[str, tuple[Callable[[Path, str], Peer], tuple[str, ...]]] = {
        "sentence-transformers torch float32": (sentence_transformers, ("sentence_transformers",)),
        "sentence-transformers torch bfloat16": (sentence_transformers, ("sentence_transformers",)),
        "onnxruntime float32": (onnxruntime, ("onnx", "onnxscript", "onnxruntime")),
        "openvino float32": (openvino, ("openvino",)),
        "openvino bfloat16": (openvino, ("openvino",)),
    }
    peers, missing = [], {}
    for name, (make, needs) in makers.items():
        if name.rpartition(" ")[2] not in dtypes:
            missing[name] = f"only {', '.join(dtypes)} asked for"
            continue
        if absent := [module for module in needs if importlib.util.find_spec(module) is None]:
            missing[name] = f"not installed: {', '.join(absent)}"
            continue
        try:
            peers.append(make(Path(directory), name))
        except Exception as error:  # a backend may fail in ways of its own; the report must go on and say so
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return peers, missing


def sentence_transformers(directory: Path, name: str) -> Peer:
    """CrossEncoder as it is; its `predict` tokenizes, sorts and batches."""
    import torch
    from sentence_transformers import CrossEncoder

    dtype = torch.bfloat16 if name.endswith("bfloat16") else torch.float32
    model = CrossEncoder(
        str(directory), device="cpu", max_length=LONGEST, model_kwargs={"dtype": dtype}, local_files_only=True
    )
    identity = torch.nn.Identity()

    def run(query: str, passages: Sequence[str], batch_size: int) -> Floats:
        pairs = [(query, passage) for passage in passages]
        scores = model.predict(pairs, batch_size=batch_size, activation_fn=identity, show_progress_bar=False)
        return np.asarray(scores, np.float32)

    return Peer(name, _tolerance(name), run)


def onnxruntime(directory: Path, name: str) -> Peer:
    """ONNX Runtime with all its graph optimizations, on the graph that torch exports."""
    import torch
    from onnxruntime import InferenceSession

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        dims = {0: torch.export.Dim("batch", min=1, max=1024), 1: torch.export.Dim("tokens", min=2, max=LONGEST)}
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            _model(directory),
            (),
            file,
            kwargs=_example(),
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(INPUTS, dims),
            external_data=False,
            verbose=False,
        )
        session = InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])

    def forward(inputs: Inputs) -> Floats:
        return np.asarray(session.run(["logits"], inputs)[0][:, 0], np.float32)

    return Peer(name, _tolerance(name), _batched(directory, forward))


def openvino(directory: Path, name: str) -> Peer:
    """OpenVINO with a latency hint and the precision said explicitly (its own choice differs by processor)."""
    import openvino as ov

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit.trace, about shapes that the model checks
        graph = ov.convert_model(_model(directory), example_input=_example())
    precision = "bf16" if name.endswith("bfloat16") else "f32"
    compiled = ov.Core().compile_model(
        graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    )
    actual = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if actual != precision:
        raise RuntimeError(f"asked for {precision}, but this processor gets {actual}")
    request = compiled.create_infer_request()

    def forward(inputs: Inputs) -> Floats:
        return np.array(request.infer(inputs)[0][:, 0], np.float32)

    return Peer(name, _tolerance(name), _batched(directory, forward))


def agreement(peer: Peer, reference: Peer, query: str, passages: Sequence[str]) -> float:
    """Largest difference of scores, in standard deviations of the reference's; `peer.tolerance` bounds a right peer."""
    expected = reference.score(query, passages)
    return float(np.abs(peer.score(query, passages) - expected).max() / expected.std())


def _batched(directory: Path, forward: Forward) -> Callable[[str, Sequence[str], int], Floats]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)

    def run(query: str, passages: Sequence[str], batch_size: int) -> Floats:
        encoded = tokenizer([query] * len(passages), list(passages), truncation=True, max_length=LONGEST)
        scores = np.empty(len(passages), np.float32)
        for chosen, inputs in _batches(encoded, batch_size):
            scores[chosen] = forward(inputs)
        return scores

    return run


def _batches(encoded: Any, batch_size: int) -> Iterator[tuple[npt.NDArray[np.intp], Inputs]]:
    """Batches of similar length, each padded with zeros (BERT's [PAD]) to its own longest."""
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs = {name: np.zeros((len(chosen), lengths[chosen].max()), np.int64) for name in INPUTS}
        for row, index in enumerate(chosen):
            for name in INPUTS:
                inputs[name][row, : lengths[index]] = encoded[name][index]
        yield chosen, inputs


def _model(directory: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(directory, local_files_only=True).eval()


def _example() -> dict[str, Any]:
    import torch

    return {name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS}


def _tolerance(name: str) -> float:
    return BFLOAT16_TOLERANCE if name.endswith("bfloat16") else FLOAT32_TOLERANCE


def _seconds(peer: Peer, query: str, passages: Sequence[str]) -> float:
    start = time.perf_counter()
    peer.score(query, passages)
    return time.perf_counter() - start
