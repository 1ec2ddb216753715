"""A checkpoint written as `transformers` writes one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import cast

from plait.checkpoint import Checkpoint
from plait.compare import Compare
from plait.errors import PlaitError
from plait.heads import Score, Span
from plait.saved import Saved
from plait.writer import Writer


def save(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write a folder that `transformers` loads. Each file is written beside and renamed, the weights first; other files
    that are there stay.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(path)
    prefix = checkpoint.base.base_model_prefix
    state = {f"{prefix}.{k}": v for k, v in checkpoint.base.state_dict().items()}
    if "text" in checkpoint.heads:
        state = cast("Writer", checkpoint.heads["text"]).saved()
    if isinstance(checkpoint.heads.get("score"), Compare):
        state |= {f"compare.{k}": v for k, v in checkpoint.heads["score"].state_dict().items()}
    elif "score" in checkpoint.heads:
        state |= cast("Score", checkpoint.heads["score"]).saved()
    state |= {f"bottleneck.{k}": v for k, v in checkpoint.bottlenecks.state_dict().items()}
    state |= {f"saliency.{k}": v for k, v in checkpoint.saliency.state_dict().items()}
    if "span" in checkpoint.heads:
        state |= cast("Span", checkpoint.heads["span"]).saved("score" in checkpoint.heads)
    config = checkpoint.config
    config.architectures = [_architecture(checkpoint)]
    if "span" in checkpoint.heads and "score" not in checkpoint.heads:
        config.num_labels = 2  # start and end, as transformers counts them
    config.plait = Saved(checkpoint.plans, checkpoint.no_answer, checkpoint.single).to_dict()
    config.dtype = next(iter(state.values())).dtype
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        save_file(
            {k: v.contiguous() for k, v in state.items()}, temporary / "model.safetensors", metadata={"format": "pt"}
        )
        config.save_pretrained(temporary)
        if "text" in checkpoint.heads:
            cast("Writer", checkpoint.heads["text"]).model.generation_config.save_pretrained(temporary)
        checkpoint.tokenizer.save_pretrained(temporary)
        if checkpoint.card:
            (temporary / "README.md").write_text(checkpoint.card)
        target.mkdir(exist_ok=True)
        for file in sorted(temporary.iterdir(), key=lambda file: (file.suffix != ".safetensors", file.name)):
            os.replace(file, target / file.name)
    except (OSError, SafetensorError) as error:  # the latter is what safetensors makes of a full disk
        raise PlaitError(
            f"the checkpoint must be written whole, but {target} could not be ({error}); free some space there, or "
            "choose another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _architecture(checkpoint: Checkpoint) -> str:
    if "text" in checkpoint.heads:
        return type(cast("Writer", checkpoint.heads["text"]).model).__name__
    heads = [name for name, head in checkpoint.heads.items() if not isinstance(head, Compare)]
    score = checkpoint.heads.get("score")
    kind = cast("Span", checkpoint.heads["span"]).kind if heads == ["span"] else "ForSequenceClassification"
    kind = "ForMultipleChoice" if isinstance(score, Score) and score.choice else kind
    return type(checkpoint.base).__name__.removesuffix("Model") + (kind if heads else "Model")
